"""Finds what a suite's name stands for: the built-in `chat` and `reference`, a file of prompts, source, or a folder of either."""

from __future__ import annotations

import os
from pathlib import Path

from casspec.storage.errors import SuiteError
from casspec.tuner.suites.chat.suite import load_chat_suite
from casspec.tuner.suites.files.gathered import file_suite, folder_suite
from casspec.tuner.suites.files.reading import is_prompt_file
from casspec.tuner.suites.files.rows import counted
from casspec.tuner.suites.prompts import Half, Prompt, Suite, prompt_ids
from casspec.tuner.suites.reference.suite import load_reference_suite
from casspec.tuner.suites.source import SOURCE_SUFFIXES, source_suite

__all__ = ["Half", "Prompt", "Suite", "load_suite", "prompt_ids"]

BUILT_IN = {"chat": load_chat_suite, "reference": load_reference_suite}


def located(name_or_path: str) -> str:
    """The suite's name for settings that outlive this process: a path as it is found from anywhere."""
    return name_or_path if name_or_path in BUILT_IN else os.path.abspath(Path(name_or_path).expanduser())


def default_suite(has_chat_template: bool) -> str:
    """The suite of a model for which none is named: requests where it can be talked to, else Python source to complete."""
    return "chat" if has_chat_template else "reference"


def load_suite(name_or_path: str | Path, strict: bool = False) -> Suite:
    """A built-in suite by its name, or one of a prompt file (`FILE:COLUMN` names the column), a source file or a folder.

    What was read of a file, and which rows cannot be used, is the first of the suite's notes. A folder with source in it is one of
    source, whatever else is there.

    Raises SuiteError when nothing is there or nothing of it can be used; with `strict` for the first row that cannot.
    """
    if str(name_or_path) in BUILT_IN:
        return BUILT_IN[str(name_or_path)]()
    path, column = _path_and_column(Path(name_or_path).expanduser())
    if path.is_dir():
        return _folder(path, strict)
    if not path.is_file():
        raise SuiteError(
            f"no suite at '{name_or_path}': expected 'chat', 'reference', a JSONL file or one of another format that "
            "docs/guide.md lists, a source file or a directory of either"
        )
    if path.suffix in SOURCE_SUFFIXES and column is None:
        return _noted(source_suite(path.parent, [path], name=path.name), 1)
    return file_suite(path, column, strict)


def _path_and_column(path: Path) -> tuple[Path, str | None]:
    """The path, and the column behind a colon where only the part before it is a file."""
    before, colon, column = str(path).rpartition(":")
    if colon and column and not path.exists() and Path(before).is_file():
        return Path(before), column
    return path, None


def _folder(path: Path, strict: bool) -> Suite:
    """Without hidden folders such as .git and .venv."""
    files = (file for file in path.rglob("*") if file.is_file())
    shown = sorted(file for file in files if not any(part.startswith(".") for part in file.relative_to(path).parts))
    source = [file for file in shown if file.suffix in SOURCE_SUFFIXES]
    prompt_files = [file for file in shown if is_prompt_file(file)]
    if source or not prompt_files:
        return _noted(source_suite(path, source), len(source), len(prompt_files))
    return folder_suite(path, prompt_files, strict)


def _noted(suite: Suite, n_files: int, n_passed_over: int = 0) -> Suite:
    """The suite of source, with what was read."""
    told = f"suite '{suite.name}': {counted(len(suite.prompts), 'prompt')} cut from {counted(n_files, 'source file')}"
    if n_passed_over:
        told += f"; {counted(n_passed_over, 'file')} of prompts beside {'is' if n_passed_over == 1 else 'are'} not read"
    return suite.model_copy(update={"notes": (told,)})
