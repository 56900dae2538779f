"""A model's fingerprint follows content: another weight, config or tokenizer shows, another directory does not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

import casspec.reference
from casspec.runtime.loading.fingerprint import model_fingerprint
from casspec.runtime.model.target import TargetModel
from tests.profiler.fakes import tiny_target

REFERENCE = Path(casspec.reference.__file__).parent


def test_equal_weights_are_the_same_model_under_any_name() -> None:
    one, other = tiny_target(), tiny_target()
    other.name = "elsewhere"
    assert model_fingerprint(one).content_hash() == model_fingerprint(other).content_hash()


def test_the_same_checkpoint_in_another_directory_is_the_same_model(tmp_path: Path) -> None:
    tiny_target().library_model.save_pretrained(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    loaded = [tiny_load(tmp_path / name) for name in ("one", "two")]
    assert loaded[0].name != loaded[1].name
    assert len({model_fingerprint(target).content_hash() for target in loaded}) == 1


def tiny_load(directory: Path) -> TargetModel:
    from transformers import AutoModelForCausalLM

    return TargetModel(AutoModelForCausalLM.from_pretrained(directory), name=str(directory))


@pytest.mark.parametrize("name", ["model.embed_tokens.weight", "model.layers.2.mlp.down_proj.weight", "lm_head.weight"])
def test_other_weights_are_another_model(name: str) -> None:
    target = tiny_target()
    before = model_fingerprint(target)
    with torch.no_grad():
        dict(target.library_model.named_parameters())[name].mul_(1.1)
    after = model_fingerprint(target)
    assert after.weights_sha256 != before.weights_sha256
    assert after.config_sha256 == before.config_sha256


def test_another_config_with_the_same_weights_is_another_model() -> None:
    one, other = model_fingerprint(tiny_target()), model_fingerprint(tiny_target(rms_norm_eps=1e-3))
    assert one.weights_sha256 == other.weights_sha256
    assert one.config_sha256 != other.config_sha256


def test_a_bfloat16_checkpoint_has_one_identity_in_both_dtypes() -> None:
    narrow = tiny_target().library_model.to(torch.bfloat16)
    in_bfloat16 = model_fingerprint(TargetModel(narrow, name="tiny"))
    in_float32 = model_fingerprint(TargetModel(narrow.to(torch.float32), name="tiny"))
    assert in_bfloat16 == in_float32


def test_a_tokenizer_is_part_of_the_model() -> None:
    target = tiny_target()
    without = model_fingerprint(target)
    target.tokenizer = AutoTokenizer.from_pretrained(REFERENCE)
    with_one = model_fingerprint(target)
    target.tokenizer.add_tokens(["<another token>"])
    with_other = model_fingerprint(target)
    assert without.tokenizer_sha256 is None
    assert with_one.tokenizer_sha256 != with_other.tokenizer_sha256
