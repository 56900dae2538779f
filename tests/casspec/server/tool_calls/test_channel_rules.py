"""Rules of channels."""

from __future__ import annotations

import pytest

from casspec.server.tool_calls.channel_rules import channel_call, said, thought
from casspec.server.tool_calls.harmony import MARKERS
from casspec.server.tool_calls.lark import LarkRules, in_turn
from tests.casspec.server.tool_calls.test_forced_calls import TOOLS, byte_tokenizer
from tests.casspec.server.tool_calls.test_lark import takes

NEXT = "<|end|><|start|>assistant"
CALL = '<|channel|>commentary to=functions.put <|constrain|>json<|message|>{"n": 3}<|call|>'
TEMPLATES = ' to=functions.put<|channel|>commentary json<|message|>{"n": 3}<|call|>'


@pytest.mark.parametrize("added", [MARKERS, ()])
def test_what_is_thought_ends_where_the_next_message_begins(added: tuple[str, ...]) -> None:
    rules = LarkRules(byte_tokenizer(added), MARKERS)
    start = in_turn(thought(rules), '"!"')
    assert takes(rules, start, f"<|channel|>analysis<|message|>Hm.{NEXT}!", added)
    assert takes(rules, start, f"<|channel|>analysis<|message|>{NEXT}!", added)
    assert not takes(rules, start, f"<|channel|>final<|message|>Hm.{NEXT}!", added)


def test_a_message_has_one_of_the_channels_and_no_marker_in_it() -> None:
    rules = LarkRules(byte_tokenizer(MARKERS), MARKERS)
    start = said(rules, is_last=True)
    assert all(takes(rules, start, f"<|channel|>{one}<|message|>Yes.", MARKERS) for one in ("analysis", "final"))
    assert not takes(rules, start, f"<|channel|>final<|message|>Yes.{NEXT}", MARKERS)
    assert takes(rules, said(rules, is_last=False), f"<|channel|>final<|message|>Yes.{NEXT}", MARKERS)
    assert not takes(rules, start, "<|channel|>other<|message|>Yes.", MARKERS)
    assert not takes(rules, start, "<|channel|>final<|message|>Y<|channel|>es.", MARKERS)


def test_a_call_is_of_a_tool_and_its_recipient_may_stand_first_where_that_is_free() -> None:
    rules = LarkRules(byte_tokenizer(MARKERS), MARKERS)
    forced, free = channel_call(rules, TOOLS), channel_call(rules, TOOLS, is_free=True)
    assert takes(rules, forced, CALL, MARKERS)
    assert not takes(rules, forced, TEMPLATES, MARKERS)
    assert takes(rules, free, CALL, MARKERS)
    assert takes(rules, free, TEMPLATES, MARKERS)
    assert not takes(rules, free, CALL.replace("put", "set"), MARKERS)
    assert not takes(rules, free, CALL.replace("3", "true"), MARKERS)
