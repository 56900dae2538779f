"""Clients and what they make of a stream."""

from __future__ import annotations

import pytest

from benchmarks.load.client import Answer, drive


def body(text: str = "hello", n_tokens: int = 8) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": text}], "max_tokens": n_tokens}


def test_a_stream_becomes_tokens_parts_and_steps(port: int) -> None:
    (answer,) = drive(port, [body()], 1).answers
    assert answer.failure is None
    assert (answer.tokens, answer.first_tokens, len(answer.parts), answer.steps) == (8, 2, 4, 4)
    assert answer.began < answer.parts[0]
    assert list(answer.parts) == sorted(answer.parts)


def test_every_request_is_answered_however_many_ask(port: int) -> None:
    done = drive(port, [body(n_tokens=2 * count) for count in range(1, 10)], 4)
    assert sorted(answer.tokens for answer in done.answers) == [2 * count for count in range(1, 10)]
    assert done.seconds > 0


@pytest.mark.parametrize(("text", "words"), [("refuse", "status 429"), ("break", "out of luck")])
def test_a_failure_is_one_line_and_part_of_the_answer(port: int, text: str, words: str) -> None:
    failed, whole = drive(port, [body(text), body()], 1).answers
    assert failed.failure is not None
    assert words in failed.failure
    assert "\n" not in failed.failure
    assert whole.failure is None


def test_nobody_listening_is_a_failure_too() -> None:
    (answer,) = drive(1, [body()], 1).answers
    assert answer.failure is not None


def test_tokens_of_the_first_part_are_not_thought_to_come_after_it() -> None:
    answer = Answer(0.0, (1.0, 1.1, 1.3), tokens=10, first_tokens=7)
    assert answer.first_ms == pytest.approx(1000)
    assert answer.token_ms == pytest.approx(100)
    assert answer.request_ms == pytest.approx(1300)
    assert answer.gaps_ms == pytest.approx([100, 200])
    assert Answer(0.0, (1.0,), tokens=7, first_tokens=7).token_ms is None
