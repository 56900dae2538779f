"""Reads suites: the built-in `chat` and `reference`, JSONL files with Spec-Bench's schema, source files and source trees."""

from __future__ import annotations

import hashlib
import json
import os
import random
from pathlib import Path
from typing import Any

from casspec.storage.errors import SuiteError
from casspec.storage.schema import OVERALL
from casspec.tuner.suites.chat.suite import load_chat_suite
from casspec.tuner.suites.prompts import Half, Prompt, Suite, assign_halves, prompt_ids
from casspec.tuner.suites.reference.suite import load_reference_suite

__all__ = ["Half", "Prompt", "Suite", "load_suite", "prompt_ids"]

BUILT_IN = {"chat": load_chat_suite, "reference": load_reference_suite}

MT_BENCH_CATEGORIES = frozenset(
    {"writing", "roleplay", "reasoning", "math", "coding", "extraction", "stem", "humanities"}
)
MT_BENCH_IDS = range(81, 161)
"""Spec-Bench keeps MT-bench's own question numbers."""

SOURCE_SUFFIXES = (".py", ".pyi", ".c", ".h", ".cc", ".cpp", ".go", ".java", ".js", ".ts", ".rb", ".rs", ".md", ".rst")
SOURCE_PROMPTS = 80
SOURCE_PROMPT_CHARACTERS = (800, 2400)
SOURCE_SEED = 0


def located(name_or_path: str) -> str:
    """The suite's name for settings that outlive this process: a path as it is found from anywhere."""
    return name_or_path if name_or_path in BUILT_IN else os.path.abspath(Path(name_or_path).expanduser())


def default_suite(has_chat_template: bool) -> str:
    """The suite of a model for which none is named: requests where it can be talked to, else Python source to complete."""
    return "chat" if has_chat_template else "reference"


def load_suite(name_or_path: str | Path) -> Suite:
    """A built-in suite by its name, or one read from a JSONL file, a source file or a directory of source.

    Raises SuiteError when nothing is there or a line is malformed; the message names the line.
    """
    if str(name_or_path) in BUILT_IN:
        return BUILT_IN[str(name_or_path)]()
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        return _source_suite(path, _source_files(path))
    if not path.is_file():
        raise SuiteError(
            f"no suite at '{name_or_path}': expected 'chat', 'reference', a JSONL file with a 'turns' list in every line, "
            "a source file or a directory of source"
        )
    if path.suffix in SOURCE_SUFFIXES:
        return _source_suite(path.parent, [path], name=path.name)
    return _jsonl_suite(path)


# --------------------------------------------------------------------------------------------------------------- JSONL


def _jsonl_suite(path: Path) -> Suite:
    rows: list[tuple[str, str, tuple[str, ...]]] = []
    first_line_of: dict[str, int] = {}
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SuiteError(f"cannot read suite {path}: {error}; expected a UTF-8 file of JSON lines") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        row = _parse_row(line, f"{path}, line {number}")
        if row[0] in first_line_of:
            raise SuiteError(
                f"{path}, line {number}: question_id {row[0]} was already used in line {first_line_of[row[0]]}; "
                "expected every question_id once"
            )
        first_line_of[row[0]] = number
        rows.append(row)
    if not rows:
        raise SuiteError(
            f"{path} holds no prompts: expected one JSON object a line with question_id, category and turns"
        )
    halves = assign_halves((prompt_id, task) for prompt_id, task, _ in rows)
    prompts = tuple(
        Prompt(id=prompt_id, task=task, turns=turns, half=halves[prompt_id], kind="chat")
        for prompt_id, task, turns in rows
    )
    return Suite(name=path.stem, prompts=prompts)


def _parse_row(line: str, where: str) -> tuple[str, str, tuple[str, ...]]:
    """(id, task, turns) of one line; `where` begins the message of the SuiteError that a malformed one raises."""
    try:
        row: Any = json.loads(line)
    except json.JSONDecodeError as error:
        raise SuiteError(
            f"{where}: not valid JSON ({error.msg}, column {error.colno}); expected one object a line"
        ) from error
    if not isinstance(row, dict):
        raise SuiteError(
            f"{where}: got a JSON {type(row).__name__}; expected an object with question_id, category, turns"
        )
    question_id, category, turns = (row.get(key) for key in ("question_id", "category", "turns"))
    if isinstance(question_id, bool) or not isinstance(question_id, int | str):
        raise SuiteError(f"{where}: question_id is {question_id!r}; expected a number or a string")
    if not isinstance(category, str) or not category:
        raise SuiteError(f"{where}: category is {category!r}; expected the name of a task")
    if category == OVERALL:
        raise SuiteError(
            f"{where}: category is {category!r}, which stands for all tasks together; expected another name"
        )
    if not isinstance(turns, list) or not turns or not all(isinstance(turn, str) and turn for turn in turns):
        raise SuiteError(f"{where}: turns is {_shortened(turns)}; expected a list of one or more non-empty strings")
    is_mt_bench = category in MT_BENCH_CATEGORIES and question_id in MT_BENCH_IDS
    return str(question_id), "mt_bench" if is_mt_bench else category, tuple(turns)


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


# -------------------------------------------------------------------------------------------------------------- source


def _source_files(root: Path) -> list[Path]:
    """Source files below `root`, sorted, without hidden folders such as .git and .venv."""
    files = (file for file in root.rglob("*") if file.suffix in SOURCE_SUFFIXES and file.is_file())
    return sorted(file for file in files if not any(part.startswith(".") for part in file.relative_to(root).parts))


def _source_suite(root: Path, files: list[Path], name: str | None = None) -> Suite:
    """Completion prompts: stretches of whole lines, at most one a file until every file has had its turn."""
    shortest, longest = SOURCE_PROMPT_CHARACTERS
    windows: list[tuple[int, str, str]] = []
    for file in files:
        relative = file.relative_to(root).as_posix()
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
        generator = random.Random(f"{SOURCE_SEED}:{relative}")
        window, limit, round_number = "", generator.randint(shortest, longest), 0
        for number, line in enumerate(lines, start=1):
            window += line
            if len(window) >= limit:
                windows.append((round_number, f"{relative}:{number}", window[-longest:]))
                window, limit, round_number = "", generator.randint(shortest, longest), round_number + 1
    if not windows:
        raise SuiteError(f"no prompts in {root}: expected source files of at least {shortest} characters")
    windows.sort(key=lambda window: (window[0], hashlib.sha256(f"{SOURCE_SEED}:{window[1]}".encode()).digest()))
    chosen = windows[:SOURCE_PROMPTS]
    halves = assign_halves((prompt_id, "completion") for _, prompt_id, _ in chosen)
    prompts = tuple(
        Prompt(id=prompt_id, task="completion", turns=(text,), half=halves[prompt_id]) for _, prompt_id, text in chosen
    )
    return Suite(name=name or root.resolve().name, prompts=prompts)
