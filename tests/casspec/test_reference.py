from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from casspec import reference
from casspec.storage.errors import UnknownModel


def test_bundled_weights_are_reference_v1():
    reference.check_reference()
    assert reference.model_name(reference.reference_path()) == "reference-v1"


def test_other_weights_get_another_name(tmp_path: Path):
    weights = bytearray((reference.reference_path() / reference.WEIGHTS_FILE).read_bytes())
    weights[-1] ^= 1
    (tmp_path / reference.WEIGHTS_FILE).write_bytes(weights)
    name = reference.model_name(tmp_path)
    assert name != "reference-v1"
    assert reference.weights_sha256(tmp_path).startswith(name.removeprefix("casspec-"))


def test_damaged_installation_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reference, "reference_path", lambda: tmp_path)
    with pytest.raises(UnknownModel, match="no file, expected 7c1df5e0"):
        reference.check_reference()


def test_bundled_directory_loads_like_any_model():
    from transformers import AutoConfig, AutoTokenizer

    path = reference.reference_path()
    assert AutoConfig.from_pretrained(path).model_type == "llama"
    text = "def f(x):\n    return x\n"
    tokenizer = AutoTokenizer.from_pretrained(path)
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_package_data_covers_everything_a_model_directory_needs():
    pyproject = Path(__file__).parents[2] / "pyproject.toml"
    patterns = tomllib.loads(pyproject.read_text())["tool"]["setuptools"]["package-data"]["casspec.reference"]
    shipped = {path.name for pattern in patterns for path in reference.reference_path().glob(pattern)}
    assert shipped >= {"model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "suite-3.11.json"}
    assert shipped >= {"MODEL_CARD.md", "heldout_modules.txt", "training.json", "generation_config.json"}
