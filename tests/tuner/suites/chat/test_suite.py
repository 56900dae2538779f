"""The suite `chat`: what is asked, of which pages, and what becomes of requests whose page is missing."""

from __future__ import annotations

from collections import Counter

import pytest

from casspec.tuner.suites.chat import passages
from casspec.tuner.suites.chat import suite as chat
from casspec.tuner.suites.load import load_suite

TASKS = ("qa", "summarization", "translation", "math_reasoning", "coding", "writing")
ABOUT_A_PAGE = {request["question_id"] for request in chat._requests() if "passage" in request}


@pytest.fixture
def lacking(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interpreter whose documentation has a page on `for` alone, in other words than here."""
    monkeypatch.setattr(passages, "_topics", lambda: {"for": "The for statement\n\nAnother text."})


def test_six_tasks_have_twelve_prompts_or_more_in_both_halves() -> None:
    suite = load_suite("chat")
    assert suite.name == "chat"
    assert suite.tasks == TASKS
    assert min(Counter(prompt.task for prompt in suite.prompts).values()) >= 12
    for half in ("tuning", "reporting"):
        assert min(Counter(prompt.task for prompt in suite.half(half)).values()) >= 6
        assert any(len(prompt.turns) == 2 for prompt in suite.half(half))
    assert {prompt.kind for prompt in suite.prompts} == {"chat"}


def test_every_request_is_its_own_and_is_read_with_its_page() -> None:
    suite = load_suite("chat")
    assert suite.notes == ()
    assert len({prompt.id for prompt in suite.prompts}) == len(suite.prompts)
    assert len({prompt.text for prompt in suite.prompts}) == len(suite.prompts)
    for prompt in suite.prompts:
        assert all(turn == turn.strip() and turn for turn in prompt.turns)
        assert not any(chat.PLACEHOLDER in turn for turn in prompt.turns)


def test_pages_are_long_enough_to_be_about_something_and_short_enough_to_be_read() -> None:
    for request in chat._requests():
        if "passage" in request:
            assert request["turns"][0].count(chat.PLACEHOLDER) == 1
            page = passages.passage(request["passage"])
            assert page is not None
            assert 150 <= len(page.split()) <= passages.MOST_WORDS


@pytest.mark.usefixtures("lacking")
def test_requests_about_missing_pages_are_left_out_and_told_of_by_task() -> None:
    suite = load_suite("chat")
    kept = {prompt.id: prompt for prompt in suite.prompts}
    assert ABOUT_A_PAGE & kept.keys() == {"summarization-03"}
    assert kept["summarization-03"].text.endswith("The for statement\n\nAnother text.")
    assert [note.split()[0] for note in suite.notes] == ["qa", "summarization"]
    assert "'exceptions', 'context-managers'" in suite.notes[1]
    assert "'for'" not in suite.notes[1]


def test_halves_and_all_else_do_not_depend_on_the_interpreter(request: pytest.FixtureRequest) -> None:
    here = {prompt.id: prompt for prompt in load_suite("chat").prompts}
    request.getfixturevalue("lacking")
    for prompt in load_suite("chat").prompts:
        assert prompt.half == here[prompt.id].half
        assert prompt.id in ABOUT_A_PAGE or prompt == here[prompt.id]
