"""GGUF files as models: the same function, tokenizer and stops out of one file, and one line where a file is no such model."""

from __future__ import annotations

import json
import struct
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from casspec.runtime.loading import gguf
from casspec.runtime.loading.fingerprint import model_fingerprint
from casspec.runtime.loading.models import load_model
from casspec.storage.errors import CasspecError, UnknownModel, UnsupportedModel
from tests.runtime.tiny_gguf import CHAT_TEMPLATE, TOKENS, model_in_file, write_gguf

pytest.importorskip("gguf")
pytest.importorskip("accelerate")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_gguf(tmp_path / "tiny.gguf")


def refusal(path: Path) -> CasspecError:
    with pytest.raises(CasspecError) as error:
        load_model(path)
    assert "\n" not in str(error.value)
    return error.value


@torch.inference_mode()
def test_a_file_computes_what_its_model_does(file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    target = load_model(file, dtype="float32")
    ids = torch.arange(3, 40)[None]
    assert torch.allclose(target.library_model(ids).logits, model_in_file()(ids).logits, atol=1e-4)
    assert (target.name, target.family) == (str(file), "llama")
    assert load_model(file).dtype == torch.bfloat16
    assert capfd.readouterr().err == ""


@torch.inference_mode()
@pytest.mark.parametrize(
    ("family", "architecture"),
    [("qwen2", "qwen2"), ("qwen3", "qwen3"), ("gemma2", "gemma2"), ("gemma3_text", "gemma3"), ("phi3", "phi3")],
)
def test_files_of_other_families_do_too(tmp_path: Path, family: str, architecture: str) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", architecture, family, tokenizer__ggml__padding_token_id=0)
    target = load_model(file, dtype="float32")
    ids = torch.arange(3, 40)[None]
    assert torch.allclose(target.library_model(ids).logits, model_in_file(family)(ids).logits, atol=1e-4)
    assert target.family == family


@pytest.mark.parametrize(("layers", "divisor"), [(46, 144), (42, 256)])
def test_the_largest_gemma_divides_scores_by_another_number(file: Path, layers: int, divisor: int) -> None:
    metadata = {
        "general.architecture": "gemma2",
        "gemma2.attention.key_length": 256,
        "gemma2.attn_logit_softcapping": 50.0,
    }
    config = SimpleNamespace(num_hidden_layers=layers, hidden_size=4608, num_attention_heads=32)
    found = gguf.complete(config, gguf.open_gguf(file)._replace(metadata=metadata))
    assert (found.query_pre_attn_scalar, found.head_dim) == (divisor, 256)
    assert (found.attn_logit_softcapping, found.final_logit_softcapping) == (50.0, None)


def test_tokenizer_chat_template_and_stops_come_out_of_the_file(tmp_path: Path) -> None:
    target = load_model(write_gguf(tmp_path / "tiny.gguf", tokenizer__ggml__eot_token_id=2))
    assert target.tokenizer.convert_ids_to_tokens(target.tokenizer("abc")["input_ids"]) == ["ab", "c"]
    assert (target.tokenizer.chat_template, target.tokenizer.eos_token) == (CHAT_TEMPLATE, TOKENS[0])
    assert target.eos_token_ids == (0, 2)


def test_a_file_is_the_same_model_as_the_directory_made_of_it(file: Path, tmp_path: Path) -> None:
    target = load_model(file)
    target.library_model.save_pretrained(tmp_path / "model")
    target.tokenizer.save_pretrained(tmp_path / "model")
    directory = load_model(tmp_path / "model", name=str(file))
    assert model_fingerprint(target) == model_fingerprint(directory)
    assert directory.eos_token_ids == target.eos_token_ids


def test_what_lies_beside_the_file_is_another_models(file: Path) -> None:
    alone = load_model(file)
    other = {"chat_template": "other", "eos_token": "b", "tokenizer_class": "BertTokenizer"}
    (file.parent / "tokenizer_config.json").write_text(json.dumps(other))
    (file.parent / "generation_config.json").write_text('{"eos_token_id": 5}')
    (file.parent / "chat_template.jinja").write_text("other")
    beside = load_model(file)
    assert model_fingerprint(beside) == model_fingerprint(alone)
    assert (beside.tokenizer.chat_template, beside.eos_token_ids) == (CHAT_TEMPLATE, (0,))


def test_files_are_told_by_name_or_by_being_one(file: Path, tmp_path: Path) -> None:
    assert gguf.is_gguf(file)
    assert gguf.is_gguf("nowhere/Model.GGUF")
    assert gguf.is_gguf(__file__)
    (tmp_path / "directory.gguf").mkdir()
    assert not gguf.is_gguf(tmp_path / "directory.gguf")
    assert not gguf.is_gguf("some/name")


def test_no_file_an_empty_one_and_one_of_another_kind_are_refused(tmp_path: Path) -> None:
    assert "no file at" in str(refusal(tmp_path / "nowhere.gguf"))
    (tmp_path / "empty.gguf").touch()
    assert "is empty" in str(refusal(tmp_path / "empty.gguf"))
    assert "is no GGUF file" in str(refusal(Path(__file__)))


@pytest.mark.parametrize("kept", [4, 20, 300, 4_000, -64])
def test_a_file_that_is_cut_short_is_refused(file: Path, kept: int) -> None:
    file.write_bytes(file.read_bytes()[:kept])
    error = refusal(file)
    assert isinstance(error, UnknownModel)
    assert "is cut short" in str(error)


def test_damage_in_the_header_is_told(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[:16] + struct.pack("<Q", 1 << 62) + content[24:])
    assert isinstance(refusal(file), UnknownModel)
    file.write_bytes(content[:4] + struct.pack(">I", 3) + content[8:])
    assert "GGUF version" in str(refusal(file))
    key = content.index(b"general.architecture") + len(b"general.architecture")
    file.write_bytes(content[:key] + struct.pack("<I", 99) + content[key + 4 :])
    assert "unknown type 99" in str(refusal(file))


@pytest.mark.parametrize(
    ("metadata", "told"),
    [
        ({"architecture": "orion"}, "architecture orion is not supported"),
        ({"architecture": "mamba"}, "model family 'mamba' cannot be decoded with drafts"),
        ({"split__count": 3}, "one of 3 parts"),
        ({"llama__rope__scaling__type": "yarn"}, "scales its rotary frequencies"),
    ],
)
def test_what_would_be_read_wrongly_is_refused(tmp_path: Path, metadata: dict[str, str | int], told: str) -> None:
    assert told in str(refusal(write_gguf(tmp_path / "tiny.gguf", **metadata)))


def test_weights_that_the_library_would_pass_over_are_counted(file: Path) -> None:
    opened = gguf.open_gguf(file)
    model = model_in_file()
    with pytest.raises(UnsupportedModel, match=f"reads {len(opened.tensors)} of the {len(opened.tensors) + 1} tensors"):
        gguf.settle(model, opened._replace(tensors=(*opened.tensors, opened.tensors[0])))


def test_without_the_extra_a_file_says_what_to_install(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf, "find_spec", lambda name: None if name == "accelerate" else find_spec(name))
    error = refusal(file)
    assert isinstance(error, UnsupportedModel)
    assert "takes accelerate" in str(error)
    assert "pip install 'casspec[gguf]'" in str(error)


def test_a_directory_with_nothing_but_a_file_names_the_file(file: Path) -> None:
    assert f"name the file itself: {file}" in str(refusal(file.parent))
