"""Models from directories: what loads, and the one line where nothing does."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from casspec.runtime.loading.models import load_config, load_model
from casspec.runtime.model.target import BackendChoice
from casspec.runtime.native import processor
from casspec.storage.errors import CasspecError, UnknownModel, UnsupportedOption
from tests.runtime.tiny import library_model
from tests.runtime.tiny_families import tiny_model


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    library_model().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def refusal(name: str | Path, **options: str) -> CasspecError:
    with pytest.raises(CasspecError) as error:
        load_model(name, **options)
    assert "\n" not in str(error.value)
    return error.value


def test_a_directory_loads_in_the_dtype_asked_for_and_goes_by_its_path(directory: Path) -> None:
    target = load_model(directory)
    assert (target.dtype, target.name, target.tokenizer) == (torch.float32, str(directory), None)
    assert load_model(directory, dtype="bfloat16", name="mine").dtype_name == "bfloat16"
    assert torch.equal(
        target.library_model.get_input_embeddings().weight, library_model().get_input_embeddings().weight
    )


@pytest.mark.parametrize("backend", ["lean", "generic"])
def test_falling_back_to_torchs_operators_is_one_line(
    directory: Path, backend: BackendChoice, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(processor, "refusal", lambda: "no such processor")
    with caplog.at_level(logging.INFO, logger="casspec.progress"):
        assert not load_model(directory, backend=backend).is_native
    told = [record.getMessage() for record in caplog.records if record.name == "casspec.progress"]
    assert told == ["forwards run by torch's operators, which takes longer: no such processor"]
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="casspec.progress"):
        load_model(directory, backend=backend, compiles=False)
    assert not caplog.records, "as it was asked for"


@pytest.mark.parametrize("family", ["llama", "mixtral"])
def test_on_the_generic_backend_weights_are_held_once_and_come_back(family: str, tmp_path: Path) -> None:
    model = tiny_model(family)
    model.save_pretrained(tmp_path)
    expected = model(torch.tensor([[1, 2, 3]])).logits
    target = load_model(tmp_path, backend="generic")
    assert target.is_native
    held = [weight.numel() for weight in target._model.parameters()]
    assert 0 in held
    assert sum(held) < sum(weight.numel() for weight in model.parameters())
    torch.testing.assert_close(target.library_model(torch.tensor([[1, 2, 3]])).logits, expected)


def test_weights_that_are_missing_are_counted(directory: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(directory / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    error = refusal(directory)
    assert isinstance(error, UnknownModel)
    assert "lacks 1 weights its config asks for (model.norm.weight" in str(error)


def test_what_is_no_model_and_what_no_device_has_are_refused(directory: Path, tmp_path: Path) -> None:
    assert "neither a directory here" in str(refusal(tmp_path / "nowhere"))
    assert "holds no model that can be loaded" in str(refusal(tmp_path))
    for options in ({"dtype": "int3"}, {"device": "toaster"}, {"device": "mps"}):
        assert isinstance(refusal(directory, **options), UnsupportedOption)


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ({"layer_types": ["of another release"] * 4}, "The `layer_types` entries must be in"),
        ({"hidden_size": "wide"}, "'hidden_size' expected int"),
        ({"num_attention_heads": 0}, "by zero"),
        ({"quantization_config": 5}, "'int' object"),
    ],
    ids=str,
)
def test_settings_that_the_library_fails_at_are_told_in_one_line(
    entries: dict[str, Any], reason: str, directory: Path
) -> None:
    file = directory / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | entries))
    assert reason in str(refusal(directory))


def test_a_configuration_is_read_of_families_without_a_forward_too(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "gpt_neox", "num_hidden_layers": 3}')
    assert load_config(tmp_path).num_hidden_layers == 3
    with pytest.raises(UnknownModel, match="neither a directory here"):
        load_config(tmp_path / "nowhere")
