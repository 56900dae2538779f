"""Makes a suite of what was read of prompt files, and tells in a line what that was."""

from __future__ import annotations

from collections.abc import Container, Sequence
from pathlib import Path

from casspec.storage.errors import SuiteError
from casspec.tuner.suites.files.content import MEBIBYTE, is_compressed
from casspec.tuner.suites.files.reading import PROMPTS, SUITE_CHARACTERS, Reading
from casspec.tuner.suites.files.rows import Found, counted, is_name
from casspec.tuner.suites.files.shapes import FIELDS
from casspec.tuner.suites.prompts import Prompt, Suite, assign_halves

TOLD_CHARACTERS = 100
"""Most that is told of one of them."""
FILES = 10_000
"""Most of a folder that are read."""


def file_suite(path: Path, column: str | None = None, strict: bool = False) -> Suite:
    """The suite of one file. Raises SuiteError where nothing of it can be used; with `strict` where anything cannot."""
    reading = Reading(path, strict)
    reading.read(path, column)
    return _suite(reading, (path.with_suffix("") if is_compressed(path) else path).stem)


def folder_suite(folder: Path, files: Sequence[Path], strict: bool = False) -> Suite:
    """The suite of all files of a folder, each prompt named after its file. Raises SuiteError as `file_suite` does."""
    if len(files) > FILES:
        raise SuiteError(
            f"{folder} holds {len(files):,} prompt files; expected at most {FILES:,}: put them in fewer files"
        )
    reading = Reading(folder, strict)
    for file in files:
        reading.read(file)
    return _suite(reading, folder.resolve().name)


def _suite(reading: Reading, name: str) -> Suite:
    if not reading.found:
        raise SuiteError(_without_prompts(reading))
    named = _named(reading)
    halves = assign_halves((prompt_id, found.request.task) for prompt_id, found in named)
    prompts = tuple(
        Prompt(
            id=prompt_id,
            task=found.request.task,
            turns=found.request.turns,
            half=halves[prompt_id],
            kind=found.request.kind,
            system=found.request.system,
            answers=found.request.answers,
            conversation=found.request.conversation,
        )
        for prompt_id, found in named
    )
    return Suite(name=name, prompts=prompts, notes=(_told(reading, name),))


def _named(reading: Reading) -> list[tuple[str, Found]]:
    """Every request under an ID of its own: the row's, else its row; in a folder with the file before it."""
    is_folder = reading.path not in reading.files
    taken = set() if is_folder else {each.request.id for _, each in reading.found if each.request.must_be_only}
    named: list[tuple[str, Found]] = []
    for path, found in reading.found:
        prompt_id = found.request.id or str(found.row)
        if is_folder:
            prompt_id = f"{path.relative_to(reading.path).as_posix()}/{prompt_id}"
        if is_folder or not found.request.must_be_only:
            prompt_id = _free(prompt_id, found.row, taken)
            taken.add(prompt_id)
        named.append((prompt_id, found))
    return named


def _free(prompt_id: str, row: int, taken: Container[str | None]) -> str:
    """The ID, with the row behind it where another prompt has it already; without what marks later turns, and printable."""
    wanted = prompt_id.replace("#", "_") if is_name(prompt_id) else f"row {row}"
    candidate, more = wanted, 0
    while candidate in taken:
        more += 1
        candidate = f"{wanted} ({row})" if more == 1 else f"{wanted} ({row}, {more})"
    return candidate


def _told(reading: Reading, name: str) -> str:
    """ "suite 'x': 120 prompts from OpenAI messages (JSONL), 1 row left out: row 4 (no question)"."""
    n_files = "" if reading.path in reading.files else f"{counted(len(reading.files), 'file')}: "
    told = f"suite '{name}': {counted(len(reading.found), 'prompt')} from {n_files}{' and '.join(reading.kinds)}"
    if reading.is_full:
        told += f", the first ones (a suite has at most {PROMPTS:,}, of {SUITE_CHARACTERS // MEBIBYTE} MiB together)"
    if reading.left_out:
        told += f", {counted(reading.n_left_out, 'row')} left out: {_left_out(reading)}"
    return told


def _without_prompts(reading: Reading) -> str:
    left_out = f": {counted(reading.n_left_out, 'row')} left out, {_left_out(reading)}" if reading.left_out else ""
    return (
        f"{reading.path} holds no prompts{left_out}; expected a UTF-8 file of JSON lines with {', '.join(FIELDS[:-1])} or "
        f"{FIELDS[-1]} in each, of text, CSV or Parquet; another field is named as FILE:FIELD"
    )


def _left_out(reading: Reading) -> str:
    """The first rows with their reasons."""
    named = []
    for path, row in reading.left_out:
        file = "" if path == reading.path else f"{path.relative_to(reading.path).as_posix()} "
        why = row.why if len(row.why) <= TOLD_CHARACTERS else row.why[: TOLD_CHARACTERS - 3] + "..."
        named.append(f"{file}row {row.row} ({why})")
    return ", ".join([*named, *(["..."] if reading.n_left_out > len(reading.left_out) else [])])
