"""Spec-Bench's questions and single prompts."""

from __future__ import annotations

import pytest

from casspec.tuner.suites.files.questions import completion, prompt, spec_bench
from casspec.tuner.suites.files.rows import UnusableRow


def test_questions_of_mt_bench_are_one_task_and_others_their_own() -> None:
    row = {"question_id": 81, "category": "writing", "turns": ["a", "b"]}
    read = spec_bench(row)
    assert (read.id, read.task, read.turns, read.kind) == ("81", "mt_bench", ("a", "b"), "chat")
    assert spec_bench(row | {"question_id": 481}).task == "writing"
    assert spec_bench(row | {"question_id": "81"}).task == "writing", "Spec-Bench's are numbers"


@pytest.mark.parametrize(
    "change",
    [
        {"question_id": True},
        {"question_id": 1.5},
        {"category": ""},
        {"turns": "a"},
        {"turns": ["a", ""]},
        {"turns": ["\ud800"]},
    ],
)
def test_a_question_with_a_wrong_field_is_unusable(change: dict) -> None:
    with pytest.raises(UnusableRow):
        spec_bench({"question_id": 1, "category": "qa", "turns": ["a"]} | change)


def test_prompts_are_asked_and_completions_gone_on_from() -> None:
    row = {"prompt": "Why?", "category": "qa", "output_tokens": 300}
    assert (prompt(row).turns, prompt(row).task, prompt(row).kind) == (("Why?",), "qa", "chat")
    assert (completion({"prompt": "def f("}).task, completion({"prompt": "def f("}).kind) == ("completion", "text")
    with pytest.raises(UnusableRow, match="empty prompt"):
        prompt({"prompt": " "})
