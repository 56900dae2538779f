"""Directories as people have them: what loads, and the one line that says why another does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from casspec.runtime.loading.checkpoints.directories import INDEX, check_directory
from casspec.runtime.loading.fingerprint import model_fingerprint
from casspec.runtime.loading.models import load_model
from casspec.storage.errors import CasspecError, UnknownModel, UnsupportedModel
from tests.runtime.tiny import library_model


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    library_model().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    library_model().save_pretrained(tmp_path / "sharded", max_shard_size="20KB")
    return tmp_path / "sharded"


def refusal(directory: Path) -> CasspecError:
    with pytest.raises(CasspecError) as error:
        load_model(directory)
    assert "\n" not in str(error.value)
    return error.value


def changed(directory: Path, **entries: Any) -> Path:
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | entries))
    return directory


def test_weights_in_several_files_are_one_model(sharded: Path, directory: Path) -> None:
    assert len(list(sharded.glob("*.safetensors"))) > 2
    one, other = model_fingerprint(load_model(sharded)), model_fingerprint(load_model(directory))
    assert one.content_hash() == other.content_hash()


def test_a_file_of_weights_that_is_missing_is_named(sharded: Path) -> None:
    missing = sorted(sharded.glob("*.safetensors"))[1]
    missing.unlink()
    error = refusal(sharded)
    assert isinstance(error, UnknownModel)
    assert f"({missing.name}); fetch it again" in str(error)


def test_an_index_that_cannot_be_read_and_a_part_cut_short_are_refused(sharded: Path) -> None:
    part = sorted(sharded.glob("*.safetensors"))[1]
    part.write_bytes(part.read_bytes()[:-100])
    assert isinstance(refusal(sharded), UnknownModel)
    (sharded / INDEX).write_text("{}")
    assert "does not say where each weight lies" in str(refusal(sharded))


def test_pickled_weights_are_refused_and_never_read(directory: Path) -> None:
    (directory / "model.safetensors").unlink()
    (directory / "pytorch_model.bin").write_bytes(b"never read")
    error = refusal(directory)
    assert isinstance(error, UnsupportedModel)
    assert "pytorch_model.bin, a pickle that can run code; convert it to safetensors" in str(error)


def test_pickled_weights_beside_safetensors_are_passed_over(directory: Path) -> None:
    (directory / "pytorch_model.bin").write_bytes(b"never read")
    assert load_model(directory).n_layers == 4


def test_code_that_a_model_brings_is_never_run(directory: Path) -> None:
    (directory / "modeling_own.py").write_text("raise AssertionError('it ran')")
    own = {"AutoConfig": "modeling_own.Config", "AutoModelForCausalLM": "modeling_own.Model"}
    assert load_model(changed(directory, auto_map=own)).family == "llama"  # the library's own code reads it
    error = refusal(changed(directory, model_type="own"))
    assert isinstance(error, UnsupportedModel)
    assert "brings code of its own for model family 'own', which is never run" in str(error)


def test_a_family_nobody_knows_and_a_config_that_is_none_are_refused(directory: Path) -> None:
    assert "own" in str(refusal(changed(directory, model_type="own")))
    (directory / "config.json").write_text("{")
    assert "holds no model that can be loaded" in str(refusal(directory))


def test_an_adapter_is_no_model(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(UnsupportedModel, match="name its base as the model and this directory by --adapter"):
        check_directory(tmp_path)
    (directory / "adapter_config.json").write_text("{}")
    assert "holds a model and an adapter" in str(refusal(directory))


@pytest.mark.parametrize("ends", [7, [7, 9]])
def test_every_end_token_of_the_generation_config_ends_a_text(ends: int | list[int], directory: Path) -> None:
    (directory / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
    assert load_model(directory).eos_token_ids == ((7,) if ends == 7 else (7, 9))


def test_without_a_generation_config_the_end_token_is_the_configs(directory: Path) -> None:
    (directory / "generation_config.json").unlink(missing_ok=True)
    assert load_model(changed(directory, eos_token_id=5)).eos_token_ids == (5,)
    assert load_model(changed(directory, eos_token_id=None)).eos_token_ids == ()


def test_what_is_no_directory_is_left_to_others(tmp_path: Path) -> None:
    check_directory(tmp_path / "nowhere")
    check_directory(tmp_path)
    check_directory("a-name/on-the-hub")


def test_weights_are_those_that_were_saved(directory: Path) -> None:
    ids = torch.arange(8)[None]
    torch.testing.assert_close(load_model(directory).library_model(ids).logits, library_model()(ids).logits)
