"""The model as engines want it: a directory, and GGUF files in several precisions made once from the shipped one."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.engines import SHIPPED, WORKERS, Engine, Row
from benchmarks.peers.environments import PeerUnavailable

QUANTISE_SECONDS = 1800


@dataclass(frozen=True)
class ModelFiles:
    """One model.

    Raises PeerUnavailable from its methods where a file is not there and cannot be made.
    """

    name: str
    directory: Path
    """With config, weights and tokenizer."""
    gguf: Path | None
    """As published."""
    made: Path
    """Folder for files that are made from it."""

    def of(self, engine: Engine, row: Row, quantiser: Path | None) -> Path:
        """What a worker loads. `quantiser` is the interpreter of an environment with llama.cpp."""
        return self.directory if engine.reads == "directory" else self.in_precision(row.precision, quantiser)

    def in_precision(self, precision: str, quantiser: Path | None) -> Path:
        """The GGUF file in a precision, made by llama.cpp where it is missing."""
        if self.gguf is None:
            raise PeerUnavailable("needs a GGUF file of the model: name one with --gguf FILE")
        if precision == SHIPPED:
            return self.gguf
        with self.gguf.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()[:12]
        target = self.made / f"{self.gguf.stem}-{digest}-{precision}.gguf"
        if not target.is_file():
            if quantiser is None:
                raise PeerUnavailable(
                    f"the {precision} file is made by llama.cpp: name it in --engines, or mend its installation"
                )
            quantise(self.gguf, target, precision, quantiser)
        return target

    def precision_of(self, row: Row) -> str:
        """The row's precision as readers know it: the shipped file's own by its name."""
        if row.precision != SHIPPED or self.gguf is None:
            return row.precision
        found = re.search(r"(?i)(?<![a-z0-9])(i?q\d\w*|bf16|f16|f32|mxfp4)(?=\.gguf$)", self.gguf.name)
        return found[1].lower() if found else SHIPPED


def quantise(source: Path, target: Path, precision: str, python: Path) -> None:
    """Writes `target` complete or not at all. Raises PeerUnavailable."""
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_suffix(f".{os.getpid()}.part")
    words = [str(python), str(WORKERS / "quantize.py"), str(source), str(unfinished), precision]
    try:
        done = subprocess.run(words, capture_output=True, timeout=QUANTISE_SECONDS)
        if done.returncode:
            raise PeerUnavailable(f"llama.cpp cannot write {source.name} as {precision}: {_last_line(done.stderr)}")
        unfinished.replace(target)
    except subprocess.TimeoutExpired:
        raise PeerUnavailable(f"writing {source.name} as {precision} took too long") from None
    finally:
        unfinished.unlink(missing_ok=True)


def _last_line(output: bytes) -> str:
    lines = output.decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:200] if lines else "it said nothing"
