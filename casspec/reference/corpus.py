"""The text a reference model is trained on: the interpreter's standard library and any directories of Python source.

The modules in `heldout_modules.txt` never enter training. The reference suite is cut from them, so that a model trained
here can be measured on the suite as the bundled one is.
"""

from __future__ import annotations

import hashlib
import sysconfig
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from casspec.reference import reference_path
from casspec.storage.errors import UnsupportedOption

END_OF_TEXT = "<|endoftext|>"
END_OF_TEXT_ID = 0
"""Stands before each file; the first special token gets the first id."""
EXCLUDED_FOLDERS = frozenset(
    {"test", "tests", "idle_test", "encodings", "lib2to3", "idlelib", "pydoc_data", "turtledemo", "site-packages"}
)
SMALLEST_FILE_BYTES = 500


@dataclass(frozen=True, slots=True)
class Corpus:
    """Source files, each list sorted."""

    library: tuple[Path, ...]
    """Standard library without held-out modules; the tokenizer is trained on these alone."""
    others: tuple[Path, ...]
    """From the directories the user gave."""
    heldout: tuple[Path, ...]

    @property
    def training(self) -> tuple[Path, ...]:
        return self.library + self.others

    def digest(self) -> str:
        """SHA-256 over paths and sizes: a resumed training must see the same files."""
        described = ((str(path), path.stat().st_size) for path in (*self.training, *self.heldout))
        return hashlib.sha256(repr(list(described)).encode()).hexdigest()


def find_corpus(directories: Sequence[Path] = (), library: Path | None = None) -> Corpus:
    """Files to train on and to hold out; `library` is the running interpreter's standard library unless given.

    Raises UnsupportedOption when a directory holds no Python source, or the library has no sources.
    """
    root = library or Path(sysconfig.get_path("stdlib"))
    listed = set((reference_path() / "heldout_modules.txt").read_text(encoding="utf-8").split())
    found = _python_files(root, EXCLUDED_FOLDERS)
    heldout = tuple(path for path in found if _is_listed(path, root, listed))
    training = tuple(path for path in found if path not in set(heldout))
    if not training or not heldout:
        raise UnsupportedOption(
            f"{root} holds no sources of a standard library: expected training and held-out modules; "
            "use a Python installed with its .py files"
        )
    others: list[Path] = []
    for directory in directories:
        files = _python_files(directory, frozenset())
        if not files:
            raise UnsupportedOption(f"--corpus {directory}: no .py files of {SMALLEST_FILE_BYTES} bytes or more in it")
        others += files
    return Corpus(training, tuple(path for path in others if path not in set(heldout)), heldout)


def _python_files(root: Path, excluded_folders: frozenset[str]) -> list[Path]:
    return sorted(
        path
        for path in root.rglob("*.py")
        if path.is_file()
        and path.stat().st_size > SMALLEST_FILE_BYTES
        and excluded_folders.isdisjoint(path.relative_to(root).parts)
    )


def _is_listed(path: Path, root: Path, listed: set[str]) -> bool:
    """Whether the held-out list names a module, or named it before it became a package (zipfile)."""
    name = path.relative_to(root).as_posix()
    return name in listed or f"{name.removesuffix('/__init__.py')}.py" in listed


def train_tokenizer(files: Iterable[Path], vocabulary: int) -> Tokenizer:
    """Byte-level BPE; `vocabulary` counts the 256 bytes and the end-of-text token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((_read(path) for path in files), trainer)
    return tokenizer


def encode(files: Sequence[Path], tokenizer: Tokenizer) -> torch.Tensor:
    """All files one after the other, end-of-text before each: [tokens] int32."""
    start = END_OF_TEXT_ID
    ids: list[int] = []
    for path in files:
        ids.append(start)
        ids += tokenizer.encode(_read(path)).ids
    return torch.tensor(ids, dtype=torch.int32)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")
