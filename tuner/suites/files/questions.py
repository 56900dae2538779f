"""Rows that hold what a user says and nothing else: Spec-Bench's questions, and single prompts."""

from __future__ import annotations

from typing import Any

from casspec.tuner.suites.files.rows import Request, UnusableRow, checked, named_task, shortened, task_of, text_of

MT_BENCH_CATEGORIES = frozenset(
    {"writing", "roleplay", "reasoning", "math", "coding", "extraction", "stem", "humanities"}
)
MT_BENCH_IDS = range(81, 161)
"""Spec-Bench keeps MT-bench's own question numbers."""


def spec_bench(row: dict[str, Any]) -> Request:
    """A line of Spec-Bench's question.jsonl: `question_id`, `category`, `turns`. Raises UnusableRow."""
    question_id, category, turns = (row.get(key) for key in ("question_id", "category", "turns"))
    if isinstance(question_id, bool) or not isinstance(question_id, int | str):
        raise UnusableRow(f"question_id is {shortened(question_id)}; expected a number or a string")
    task = named_task(category)
    if not isinstance(turns, list) or not turns or not all(isinstance(turn, str) and turn for turn in turns):
        raise UnusableRow(f"turns is {shortened(turns)}; expected a list of one or more non-empty strings")
    is_mt_bench = category in MT_BENCH_CATEGORIES and question_id in MT_BENCH_IDS
    return Request(
        turns=tuple(checked(turn, "a turn") for turn in turns),
        task="mt_bench" if is_mt_bench else task,
        id=checked(str(question_id), "question_id"),
        must_be_only=True,
    )


def prompt(row: dict[str, Any]) -> Request:
    """A row with a `prompt`, as vLLM's custom datasets have them. Raises UnusableRow."""
    return Request(turns=(text_of(row.get("prompt"), "prompt"),), task=task_of(row))


def completion(row: dict[str, Any]) -> Request:
    """A request to complete a `prompt`, which no chat template is put around. Raises UnusableRow."""
    text = text_of(row.get("prompt"), "prompt")
    return Request(turns=(text,), task=task_of(row, otherwise="completion"), kind="text")
