"""OpenAI's messages and ShareGPT: turns, recorded answers, and what is no conversation."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casspec.tuner.suites.files.conversations import messages, share_gpt
from casspec.tuner.suites.files.rows import UnusableRow

CODES = {"s": "system", "u": "user", "a": "assistant", "d": "developer", "t": "tool"}


def row(roles: str) -> dict[str, Any]:
    """Messages of these roles, each saying its place."""
    return {"messages": [{"role": CODES[role], "content": f"{role}{place}"} for place, role in enumerate(roles)]}


@pytest.mark.parametrize(
    ("roles", "system", "turns", "answers"),
    [
        ("u", "", ("u0",), ()),
        ("su", "s0", ("u1",), ()),
        ("du", "d0", ("u1",), ()),
        ("sdu", "s0\n\nd1", ("u2",), ()),
        ("uau", "", ("u0", "u2"), ("a1",)),
        ("uaua", "", ("u0", "u2"), ("a1",)),
        ("uuaau", "", ("u0\n\nu1", "u4"), ("a2\n\na3",)),
    ],
)
def test_later_turns_quote_the_recorded_answers(roles: str, system: str, turns: tuple, answers: tuple) -> None:
    read = messages(row(roles))
    assert (read.system, read.turns, read.answers) == (system, turns, answers)


@pytest.mark.parametrize(
    ("roles", "why"),
    [
        ("", "no question"),
        ("s", "no question"),
        ("a", "no question"),
        ("sa", "no question"),
        ("au", "begins with an answer"),
        ("usu", "a system message after the first question"),
        ("uatu", "message 3 is of role 'tool'"),
    ],
)
def test_what_is_no_conversation_says_why(roles: str, why: str) -> None:
    with pytest.raises(UnusableRow, match=f"^{why}$"):
        messages(row(roles))


@given(st.text("sua", max_size=8))
def test_what_is_read_takes_turns(roles: str) -> None:
    try:
        read = messages(row(roles))
    except UnusableRow:
        return
    assert len(read.turns) == len(read.answers) + 1
    said = "".join(read.turns) + "".join(read.answers) + read.system
    assert sum(said.count(f"u{place}") for place, role in enumerate(roles) if role == "u") == roles.count("u")


def said(content: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}]}


def test_content_may_be_parts_of_text() -> None:
    assert messages(said([{"type": "text", "text": "a "}, {"type": "text", "text": "b"}])).turns == ("a b",)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ([{"type": "image_url", "image_url": {}}], r"message 1 has a part that is no text \('image_url'\)"),
        ([{"type": "text"}], "message 1 has a part that is no text"),
        (["a"], "message 1 has a part that is no text"),
        (3, "message 1 says 3; expected a text"),
        ({"a": 1}, "expected a text"),
        (None, "no question"),
        ("  ", "no question"),
        ("\udcff", "half a character"),
    ],
)
def test_content_that_is_no_text_says_why(content: Any, why: str) -> None:
    with pytest.raises(UnusableRow, match=why):
        messages(said(content))


@pytest.mark.parametrize("value", [None, "a", {}, ["a"], [None], [{"role": ["user"], "content": "a"}]])
def test_messages_of_other_shapes_are_unusable(value: Any) -> None:
    for read, field in ((messages, "messages"), (share_gpt, "conversations")):
        with pytest.raises(UnusableRow):
            read({field: value})


def test_share_gpt_has_speakers_of_its_own() -> None:
    told = [("system", "s"), ("human", "a"), ("gpt", "b"), ("user", "c"), ("bing", "d")]
    spoken = [{"from": speaker, "value": value} for speaker, value in told]
    for field in ("conversations", "conversation"):
        read = share_gpt({field: spoken, "category": "talk"})
        assert (read.system, read.turns, read.answers, read.task) == ("s", ("a", "c"), ("b",), "talk")
    assert share_gpt({"conversations": row("ua")["messages"]}).turns == ("u0",)
    with pytest.raises(UnusableRow, match="message 1 is of role 'tool'"):
        share_gpt({"conversations": [{"from": "tool", "value": "a"}]})
