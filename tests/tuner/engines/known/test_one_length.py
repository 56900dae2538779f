"""Engines with one draft length for all."""

from __future__ import annotations

from pathlib import Path

import pytest

from casspec.storage.engines.documents import PLAIN
from casspec.storage.errors import EngineError
from casspec.tuner.engines.known.by_name import ENGINES
from casspec.tuner.engines.known.one_length import OneLength
from casspec.tuner.engines.protocol import Abilities, Start

ALL = [engine() for engine in ENGINES.values() if issubclass(engine, OneLength)]


@pytest.mark.parametrize("engine", ALL, ids=lambda engine: str(engine.name))
def test_abilities_say_what_the_class_cannot(engine: OneLength) -> None:
    assert engine.probe_setting(4) is None
    with pytest.raises(EngineError, match="for any number of requests"):
        engine.by_batch(PLAIN, {1: 2, 4: 0})


def test_the_hub_is_left_alone_for_a_model_that_is_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("TRANSFORMERS_OFFLINE", "0")
    here, there = (
        Start(Path("p"), model, PLAIN, 1, "auto", Abilities("1", False, frozenset()))
        for model in (str(tmp_path), "org/model")
    )
    found = OneLength().variables(here)
    assert found["HF_HUB_OFFLINE"] == "1"
    assert "TRANSFORMERS_OFFLINE" not in found, "the user's own stays"
    assert "HF_HUB_OFFLINE" not in OneLength().variables(there)
