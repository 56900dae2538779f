# Needs Python >= 3.11 with venv, and make; installs into $(VENV), nothing elsewhere.
# `make help` prints the text after ## of every target, and the variables below up to the empty line.
#
# PYTHON       the interpreter the environment is made from
# TORCH_INDEX  a package index for torch alone, for instance https://download.pytorch.org/whl/cpu
#              or https://download.pytorch.org/whl/cu126 (`make clean` before changing it)
# BENCH        options of `casspec bench`, for instance BENCH="--prompts 10" for less than a third of the time
# GPU          options of `make gpu`, for instance GPU="--layers 32 --minutes 12"; `.venv/bin/python -m benchmarks.gpu --help` lists them

PYTHON ?= python3
TORCH_INDEX ?=
BENCH ?=
GPU ?=
VENV ?= .venv

BIN := $(VENV)/bin
STAMPS := $(VENV)/stamps
PINS := constraints.txt
INSTALL := $(BIN)/python -m pip --quiet --quiet --disable-pip-version-check install --constraint $(PINS)
INSTALLED := build/installed
MYPY = cd $(INSTALLED) && $(abspath $(BIN))/mypy --config-file $(CURDIR)/pyproject.toml --cache-dir $(CURDIR)/.mypy_cache

.PHONY: help demo demo-chat test test-engines test-fleet lint style installed kernels format docs bench gpu clean
.DELETE_ON_ERROR:

help: ## print this
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(firstword $(MAKEFILE_LIST)) | while IFS='|' read -r target text; do \
		printf '  make %-10s %s\n' "$$target" "$$text"; done
	@printf '\nVariables, as in make PYTHON=python3.12 test:\n'
	@sed -n '/^# PYTHON/,/^$$/s/^# \(..*\)/  \1/p' $(firstword $(MAKEFILE_LIST))

demo: $(STAMPS)/calibrate ## install, then calibrate the bundled reference model
	@$(BIN)/casspec calibrate

demo-chat: $(STAMPS)/gguf ## install, fetch a small chat model (93 MB), then calibrate it
	@$(BIN)/casspec calibrate smollm2

test: $(STAMPS)/dev ## install what development needs, then run the tests
	@$(BIN)/python -m pytest -q --numprocesses auto --maxprocesses 4 --dist worksteal

kernels: $(STAMPS)/dev
	@$(BIN)/python -m tests.kernels

test-engines: $(STAMPS)/dev ## install other engines, check exports by their parsers, kill searches of them (an hour)
	@$(BIN)/python -m benchmarks.engine_environments
	@$(BIN)/python -m pytest -q -m engines tests/storage/export tests/tuner/engines

test-fleet: $(STAMPS)/dev ## kill hub, workers, Ray nodes and database 30 times, which takes minutes
	@$(BIN)/python -m pytest -q -m fleet tests/casspec/hub/fleet

lint: style installed ## check style, format and types
	@$(MYPY) -p casspec
	@$(MYPY) $(CURDIR)/examples

style: $(STAMPS)/dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

# Top-level folders carry other import names, so types are checked and docstrings read in an installed copy.
installed: $(STAMPS)/dev
	@rm -rf $(INSTALLED) build/lib build/bdist.*
	@$(INSTALL) --no-build-isolation --no-deps --target $(INSTALLED) .
	@rm -rf build/lib build/bdist.*

format: $(STAMPS)/dev ## mend style and format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

docs: installed ## build the documentation site, in build/site
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

bench: $(STAMPS)/dev ## run the long benchmark (every method), and the tests that need a CUDA device
	@$(BIN)/casspec bench $(BENCH)
	@$(BIN)/python -m pytest -q tests/gpu

gpu: $(STAMPS)/dev ## measure casspec on a CUDA device in eight minutes, and write docs/results/gpu.md
	@$(BIN)/python -m benchmarks.gpu $(GPU)

clean: ## remove what these made, the virtual environment included
	@rm -rf $(VENV) build dist casspec.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMPS)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "casspec needs Python 3.11 or newer; name one: make PYTHON=/path/to/python3"; exit 1; }
	@echo "Creating the virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { echo "no virtual environment: install Python's venv module (on Debian python3-venv)"; exit 1; }
	@mkdir -p $(@D) && touch $@

$(STAMPS)/torch: $(PINS) | $(STAMPS)/python
	@echo "Installing torch (a large download the first time)"
	@$(INSTALL) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) torch
	@touch $@

# torch brings the setuptools that casspec is built with, so nothing is fetched to build it.
$(STAMPS)/calibrate: pyproject.toml $(PINS) $(STAMPS)/torch
	@echo "Installing casspec"
	@$(INSTALL) --no-build-isolation --editable '.[calibrate]'
	@touch $@

$(STAMPS)/gguf: pyproject.toml $(PINS) $(STAMPS)/torch
	@echo "Installing casspec and what reads GGUF files"
	@$(INSTALL) --no-build-isolation --editable '.[calibrate,gguf]'
	@touch $(STAMPS)/calibrate $@

$(STAMPS)/dev: pyproject.toml $(PINS) $(STAMPS)/torch
	@echo "Installing casspec and what its tests need"
	@$(INSTALL) --no-build-isolation --editable '.[dev]'
	@touch $(STAMPS)/calibrate $(STAMPS)/gguf $@
