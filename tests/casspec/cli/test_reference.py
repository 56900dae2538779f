from __future__ import annotations

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from casspec.cli.reference import command
from casspec.reference import corpus, train
from casspec.storage.errors import UnsupportedOption
from casspec.tuner.suites.reference import build as reference_list
from casspec.tuner.suites.reference import suite as reference_suite
from casspec.tuner.suites.reference.suite_list import SuiteList


@pytest.fixture
def made_with(monkeypatch: pytest.MonkeyPatch) -> list:
    """Budgets that lists were made with, in place of making them."""
    budgets = []

    def make_list(budget, known=None, on_progress=lambda line: None) -> SuiteList:
        budgets.append(budget)
        on_progress("completion: 32 candidates")
        return SuiteList(
            python="3.11.0",
            model="reference-v1",
            seed=budget.seed,
            continuation_tokens=128,
            max_repetition=0.2,
            counts={},
            entries=(),
        )

    monkeypatch.setattr(reference_list, "make_list", make_list)
    return budgets


def test_suite_writes_the_list_where_it_is_told(tmp_path: Path, made_with: list):
    out = tmp_path / "deep" / "list.json"
    arguments = ["suite", "--out", str(out), "--prompts", "4", "--candidates", "10", "--seed", "3", "--threads", "1"]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output
    assert made_with == [reference_list.ListBudget(4, 10, 3)]
    assert SuiteList.model_validate_json(out.read_text()).seed == 3
    assert "completion: 32 candidates" in result.stderr
    assert not list(out.parent.glob("*.tmp"))


def test_suite_defaults_are_those_of_the_committed_list_in_this_interpreters_place(made_with: list):
    result = CliRunner().invoke(command, ["suite", "--threads", "1"])
    assert result.exit_code == 0, result.output
    assert made_with == [reference_list.COMMITTED_LIST]
    assert reference_suite.own_list_path().is_file()


def test_train_writes_a_named_model_and_says_the_held_out_loss(
    tmp_path: Path, tiny_corpus, tiny_recipe, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(corpus, "find_corpus", lambda directories: tiny_corpus)
    monkeypatch.setattr(train, "Recipe", lambda seed: tiny_recipe)
    arguments = ["train", "--out", str(tmp_path / "out"), "--minutes", "0.005", "--threads", "1"]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "model.safetensors").is_file()
    assert "casspec-" in result.stderr
    assert "held-out loss" in result.stderr
    again = CliRunner().invoke(command, arguments)
    assert isinstance(again.exception, UnsupportedOption)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_training_on_a_missing_device_is_refused_before_any_work(tmp_path: Path):
    result = CliRunner().invoke(command, ["train", "--out", str(tmp_path / "out"), "--device", "cuda"])
    assert isinstance(result.exception, UnsupportedOption)
    assert not (tmp_path / "out").exists()
