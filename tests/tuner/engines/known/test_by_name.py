"""Engines by name."""

from __future__ import annotations

import pytest

from casspec.cli.engine_tune import ENGINE_NAMES
from casspec.storage.errors import EngineError
from casspec.storage.export import MODULES
from casspec.storage.export.engine_file import USES
from casspec.tuner.engines.known.by_name import ENGINES, engine_named


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_goes_by_its_name(name: str) -> None:
    assert engine_named(name).name == name


def test_an_unknown_one_is_told() -> None:
    with pytest.raises(EngineError, match="expected one of vllm"):
        engine_named("vlm")


def test_the_command_line_knows_all_of_them() -> None:
    assert tuple(ENGINES) == ENGINE_NAMES
    assert set(ENGINES) == set(USES)
    assert set(ENGINES) <= set(MODULES)
