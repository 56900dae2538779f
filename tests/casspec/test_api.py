"""The public API: models are loaded or refused in one line, and decode with the profiles that fit them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import casspec
from casspec.runtime.model.target import TargetModel
from casspec.storage.errors import CasspecError, ProfileMismatch, UnknownModel, UnsupportedModel, UnsupportedOption
from tests.runtime.tiny import library_model, tiny_profile, tiny_target


def one_line(error: pytest.ExceptionInfo[CasspecError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


@pytest.fixture(scope="module")
def reference() -> TargetModel:
    return casspec.load_target("reference", dtype="float32")


@pytest.fixture(scope="module")
def target() -> TargetModel:
    return tiny_target(seed=7)


def test_the_reference_model_has_a_name_and_a_tokenizer(reference: TargetModel) -> None:
    assert (reference.name, reference.family, reference.dtype) == ("reference", "llama", torch.float32)
    assert reference.tokenizer.decode(reference.tokenizer.encode("def f():")) == "def f():"
    assert casspec.load_target("reference").dtype == torch.bfloat16


def test_the_reference_model_decodes_its_own_language(reference: TargetModel) -> None:
    prompt = reference.tokenizer.encode("class Point:\n    def __init__(self, x, y):\n        self.x = x\n")
    expected = reference.library_model.generate(torch.tensor([prompt]), max_new_tokens=32, do_sample=False)
    generation = casspec.Decoder(reference).generate(prompt, 32)
    assert generation.token_ids == expected[0, len(prompt) :].tolist()
    assert generation.statistics.mean_acceptance_length > 1


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    library_model().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_a_directory_without_a_tokenizer_is_a_model_all_the_same(directory: Path) -> None:
    target = casspec.load_target(directory, dtype="bfloat16")
    assert target.tokenizer is None
    assert target.dtype == torch.bfloat16
    assert len(casspec.Decoder(target).generate([1, 2, 3], 5).token_ids) == 5


def change_config(directory: Path, **changes: Any) -> None:
    file = directory / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize(
    ("damage", "error", "named"),
    [
        (lambda path: (path / "model.safetensors").unlink(), UnknownModel, "holds no model"),
        (lambda path: (path / "model.safetensors").write_bytes(b"version https://"), UnknownModel, "holds no model"),
        (lambda path: (path / "config.json").write_text("{"), UnknownModel, "holds no model"),
        (lambda path: change_config(path, num_hidden_layers=5), UnknownModel, "lacks 9 weights"),
        (lambda path: change_config(path, hidden_size=64), UnknownModel, "lacks .* weights"),
        (lambda path: change_config(path, model_type="mamba"), UnsupportedModel, "'mamba'"),
    ],
    ids=["no weights", "damaged weights", "damaged config", "missing weights", "other shapes", "family"],
)
def test_what_is_no_model_is_refused(directory: Path, damage: Any, error: type[CasspecError], named: str) -> None:
    damage(directory)
    with pytest.raises(error, match=named) as refusal:
        casspec.load_target(directory)
    one_line(refusal)


@pytest.mark.parametrize(
    ("arguments", "error", "named"),
    [
        ({"name_or_path": "/nowhere/at/all"}, UnknownModel, "/nowhere/at/all"),
        ({"name_or_path": "reference", "dtype": "int3"}, UnsupportedOption, "'int3'"),
        ({"name_or_path": "reference", "device": "abacus"}, UnsupportedOption, "'abacus'"),
        ({"name_or_path": "reference", "device": "mps"}, UnsupportedOption, "'mps'"),
        ({"name_or_path": "reference", "device": "cuda:99"}, UnsupportedOption, "CUDA|cuda"),
    ],
)
def test_names_that_mean_nothing_here_are_refused(arguments: Any, error: type[CasspecError], named: str) -> None:
    with pytest.raises(error, match=named) as refusal:
        casspec.load_target(**arguments)
    one_line(refusal)


def test_methods_are_listed_with_a_summary(target: TargetModel) -> None:
    listed = casspec.methods()
    assert {"autoregressive", "prompt-lookup", "token-recycling", "layer-sparse", "dytc"} <= listed.keys()
    assert all(summary and "\n" not in summary for summary in listed.values())
    for method in listed:
        assert casspec.Decoder(target, method=method).generate([1, 2], 3).token_ids


@pytest.mark.parametrize(
    ("other", "changes", "named"),
    [
        ({"seed": 8}, {}, "another weights"),
        ({"rms_norm_eps": 1e-3}, {}, "another config"),
        ({}, {"dtype": "bfloat16"}, "calibrated in bfloat16, the model is loaded in float32"),
        (
            {},
            {"device": {"name": "another processor", "capability": "sve"}},
            "calibrated on another processor, .* without sve",
        ),
    ],
    ids=["weights", "config", "dtype", "device"],
)
def test_a_profile_of_something_else_is_refused(
    target: TargetModel, other: dict[str, Any], changes: dict[str, Any], named: str
) -> None:
    document = tiny_profile(target).document
    if "device" in changes:
        changes = {"device": document.device.model_copy(update=changes["device"])}
    with pytest.raises(ProfileMismatch, match=named) as refusal:
        casspec.Decoder(tiny_target(**{"seed": 7} | other), document.model_copy(update=changes))
    assert document.model_copy(update=changes).profile_id in one_line(refusal)


def test_a_model_wrapped_without_its_tokenizer_keeps_its_profile(reference: TargetModel) -> None:
    bare = TargetModel(reference.library_model)
    document = tiny_profile(reference).document.model_copy(update={"drafters": (), "methods": ()})
    assert document.model.tokenizer_sha256 is not None
    prompt = [5, 6, 7, 5, 6]
    expected = casspec.Decoder(reference, document).generate(prompt, 4).token_ids
    assert casspec.Decoder(bare, document).generate(prompt, 4).token_ids == expected


def test_a_model_with_an_adapter_loads_by_both_or_by_its_name(directory: Path, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    settings = peft.LoraConfig(target_modules=["q_proj"], init_lora_weights=False)
    peft.get_peft_model(library_model(), settings).save_pretrained(tmp_path / "lora")
    target = casspec.load_target(directory, adapter=tmp_path / "lora")
    assert target.name == f"{directory} + {tmp_path / 'lora'}"
    assert casspec.load_target(target.name).fingerprint == target.fingerprint
    with pytest.raises(UnknownModel, match="there is no directory 'nowhere'"):
        casspec.load_target(f"{directory} + nowhere")
