"""The files that engines load."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.peers.engines import ENGINES
from benchmarks.peers.environments import PeerUnavailable
from benchmarks.peers.files import ModelFiles, quantise


@pytest.fixture
def files(tmp_path: Path) -> ModelFiles:
    shipped = tmp_path / "Model-1B-Instruct.Q4_1.gguf"
    shipped.write_bytes(b"GGUF")
    return ModelFiles("m", tmp_path, shipped, tmp_path / "made")


def test_engines_load_a_directory_or_a_file_of_the_rows_precision(files: ModelFiles) -> None:
    vllm, llama = ENGINES["vllm"], ENGINES["llama.cpp"]
    assert files.of(vllm, vllm.rows[0], None) == files.directory
    assert files.of(llama, llama.rows[0], None) == files.gguf
    assert files.precision_of(llama.rows[0]) == "q4_1"
    assert files.precision_of(llama.rows[1]) == "q8_0"


def test_a_file_that_was_made_is_made_once(files: ModelFiles) -> None:
    with pytest.raises(PeerUnavailable, match="name it in --engines"):
        files.in_precision("bf16", None)
    with pytest.raises(PeerUnavailable, match=r"cannot write .* as bf16"):
        files.in_precision("bf16", Path(sys.executable))
    assert list(files.made.iterdir()) == []
    python = files.directory / "python"
    python.write_text('#!/bin/sh\necho "$4" > "$3"\n')
    python.chmod(0o755)
    made = files.in_precision("bf16", python)
    assert made.read_text() == "bf16\n"
    assert files.in_precision("bf16", None) == made


def test_without_a_gguf_file_the_reason_says_what_to_give(tmp_path: Path) -> None:
    bare = ModelFiles("m", tmp_path, None, tmp_path)
    with pytest.raises(PeerUnavailable, match="--gguf FILE"):
        bare.in_precision("shipped", None)
    assert bare.precision_of(ENGINES["llama.cpp"].rows[0]) == "shipped"


def test_no_half_written_file_stays(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho x > "$3"\nexit 3\n')
    python.chmod(0o755)
    with pytest.raises(PeerUnavailable):
        quantise(tmp_path / "a.gguf", tmp_path / "b.gguf", "f16", python)
    assert [path.name for path in tmp_path.iterdir()] == ["python"]
