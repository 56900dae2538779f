"""Fingerprints of models remembered between commands."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from casspec.known_models import KnownModel, recall, remember
from tests.storage import samples


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    directory = tmp_path / "model"
    directory.mkdir()
    (directory / "config.json").write_text("{}")
    return directory


def test_a_fingerprint_is_known_until_a_file_changes(model: Path) -> None:
    assert recall(str(model), "auto", "auto") is None
    remember(str(model), "auto", "auto", KnownModel(samples.model(), "bfloat16", "lean", True))
    assert recall(str(model), "auto", "auto") == (samples.model(), "bfloat16", "lean", True)
    assert recall(str(model), "float32", "auto") is None
    assert recall(str(model), "auto", "generic") is None
    os.utime(model / "config.json", ns=(1, 1))
    assert recall(str(model), "auto", "auto") is None


def test_a_model_that_is_one_file_is_known_until_that_file_changes(model: Path) -> None:
    file = model / "model.gguf"
    file.write_bytes(b"GGUF")
    remember(str(file), "auto", "auto", KnownModel(samples.model(), "bfloat16", "lean", False))
    (model / "config.json").write_text('{"another": "model"}')
    assert recall(str(file), "auto", "auto") == (samples.model(), "bfloat16", "lean", False)
    os.utime(file, ns=(1, 1))
    assert recall(str(file), "auto", "auto") is None


def test_a_damaged_memory_or_a_name_on_the_hub_is_simply_not_known(model: Path, tmp_path: Path) -> None:
    remember("some/name", "auto", "auto", KnownModel(samples.model(), "bfloat16", "lean", True))
    assert recall("some/name", "auto", "auto") is None
    remember(str(model), "auto", "auto", KnownModel(samples.model(), "bfloat16", "lean", True))
    (tmp_path / "cache" / "casspec" / "fingerprints.json").write_text("[")
    assert recall(str(model), "auto", "auto") is None


def test_a_model_with_an_adapter_is_known_until_a_file_of_either_changes(model: Path, tmp_path: Path) -> None:
    lora = tmp_path / "lora"
    lora.mkdir()
    (lora / "adapter_config.json").write_text("{}")
    both = f"{model} + {lora}"
    remember(str(model), "auto", "auto", KnownModel(samples.model(), "bfloat16", "lean", True))
    assert recall(both, "auto", "auto") is None
    for changed in (lora / "adapter_config.json", model / "config.json"):
        remember(both, "auto", "auto", KnownModel(samples.model(), "bfloat16", "lean", False))
        assert recall(both, "auto", "auto") == (samples.model(), "bfloat16", "lean", False)
        os.utime(changed, ns=(1, 1))
        assert recall(both, "auto", "auto") is None
    assert recall(f"{model} + {tmp_path / 'nowhere'}", "auto", "auto") is None
