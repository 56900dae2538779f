"""The served model's fingerprint, without loading it."""

from __future__ import annotations

from pathlib import Path

import pytest

import casspec.runtime.loading.models as models
from casspec.reference import reference_path
from casspec.runtime.loading.models import load_model
from casspec.storage.errors import SuiteError, UnknownModel
from casspec.tuner.engines.identity import form_name, served_model
from tests.runtime.tiny import library_model
from tests.runtime.tiny_gguf import write_gguf


def test_it_is_the_fingerprint_that_profiles_pin(monkeypatch: pytest.MonkeyPatch) -> None:
    pinned = load_model(reference_path()).fingerprint
    monkeypatch.setattr(models, "load_library_model", None)
    served = served_model(str(reference_path()), "reference")
    assert served.fingerprint.model_copy(update={"name": pinned.name}) == pinned
    assert served.tokenizer("x")["input_ids"]


def test_weights_by_other_names_are_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AutoTokenizer

    library_model("llama").save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(reference_path()).save_pretrained(tmp_path)
    expected = served_model(str(tmp_path), "tiny").fingerprint
    monkeypatch.setattr("casspec.tuner.engines.identity._weights_sha256", lambda *_: None)
    assert served_model(str(tmp_path), "tiny").fingerprint == expected


def test_no_model_and_no_tokenizer_are_one_line_each(tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match="no model at"):
        served_model(str(tmp_path / "missing"), "missing")
    library_model("llama").save_pretrained(tmp_path)
    with pytest.raises(SuiteError, match="has no tokenizer"):
        served_model(str(tmp_path), "tiny")


def test_a_gguf_file_is_the_model_that_profiles_of_it_pin(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    file = write_gguf(tmp_path / "tiny.gguf")
    served, pinned = served_model(str(file), "tiny"), load_model(file).fingerprint
    assert pinned is not None
    assert served.place == str(file)
    assert served.fingerprint.model_copy(update={"name": pinned.name}) == pinned
    assert served.tokenizer("a")["input_ids"]


def test_another_form_of_a_model_goes_by_its_content(tmp_path: Path) -> None:
    file = tmp_path / "a" / "m.gguf"
    file.parent.mkdir()
    file.write_bytes(bytes(range(256)) * 4096)
    name = form_name(file)
    assert name.startswith("m.gguf ")
    assert form_name(file.rename(tmp_path / "m.gguf")) == name
    (tmp_path / "m.gguf").write_bytes(bytes(range(256)) * 4095)
    assert form_name(tmp_path / "m.gguf") != name
    folder = form_name(tmp_path)
    (tmp_path / "more").touch()
    assert form_name(tmp_path) != folder
