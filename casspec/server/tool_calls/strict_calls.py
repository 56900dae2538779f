"""The grammar of a reply that is free until it calls: then each call is of a tool there is, its arguments by that tool's schema."""

from __future__ import annotations

import json
from typing import Any

from casspec.runtime.text.grammar import Grammar
from casspec.server.tool_calls.channel_rules import NEXT, channel_call, said
from casspec.server.tool_calls.forced_calls import calls_rule
from casspec.server.tool_calls.formats import Forced, ToolFormat
from casspec.server.tool_calls.lark import LarkRules, in_turn
from casspec.server.tool_calls.stream import BlockFormat, Tools

_WORDS = ("functools",)
"""Markers that are words of ordinary text too: a call begins only where a bracket follows."""


def strict_calls(form: ToolFormat, tools: Tools, tokenizer: Any, several: bool) -> Grammar:
    """The grammar, in llguidance's Lark. What is said before, between and after calls is free, special tokens of other meaning included.

    Args:
        tools: schemas by name; that of a tool which is not strict is any object's. several: whether a block may have more than one call.

    Raises UnsupportedOption for a schema that the format's calls cannot be held to.
    """
    rules = LarkRules(tokenizer, form.shown)
    if form.blocks is None or form.forced is None:
        message = rules.rule(said(rules))
        call = channel_call(rules, tools, is_free=True)
        return rules.grammar(f"({in_turn(message, rules.written(NEXT))})* ({message} | {call})?")
    others = rules.other_tokens(form.shown)
    if form.blocks.only_first:
        return rules.grammar(_whole_message(rules, form.blocks, form.forced, tools, several, others))
    free = _free(rules, rules.text(form.blocks.markers), others)
    blocks = [_block(rules, form, form.forced, tools, several, marker, free) for marker in form.blocks.markers]
    return rules.grammar(f"({' | '.join(blocks)})* {free}?")


def _block(
    rules: LarkRules, form: ToolFormat, forced: Forced, tools: Tools, several: bool, marker: str, free: str
) -> str:
    """Free text, a marker, and the calls behind it."""
    assert form.blocks is not None
    begins = forced.opener or forced.begin
    if not begins.startswith(marker):  # another marker of the same calls
        calls = calls_rule(rules, Forced("", arguments=forced.arguments, shape=forced.shape), tools, several)
    else:
        calls = calls_rule(rules, forced, tools, several and bool(forced.opener or forced.shape == "array"), marker)
    until = f"{free}? {rules.text_until(marker, form.blocks.markers)}"
    if marker not in _WORDS:
        return in_turn(until, calls)
    said_on = rules.text(form.blocks.markers, first="\\s*[^\\s\\[{]", least=0)
    return in_turn(until, f"({calls} | {said_on})?")


def _whole_message(
    rules: LarkRules, blocks: BlockFormat, forced: Forced, tools: Tools, several: bool, others: str
) -> str:
    """Calls from the message's beginning on, or text that begins otherwise."""
    tag, *starts = blocks.markers
    first = "\\s*[^\\s" + "".join(f"\\{one}" for one in starts) + "]"
    before = f"{others}*" if others else ""
    said = in_turn(rules.text((tag,), least=0, first=first), f"({_free(rules, rules.text((tag,)), others)})?")
    space = rules.terminal("/\\s+/")
    marked = f"({rules.written(tag)} | {json.dumps(tag)})?"
    calls = calls_rule(rules, forced, tools, several)
    return f"{before} ({said} | {space}? {marked} {calls} | {space})?"


def _free(rules: LarkRules, text: str, others: str) -> str:
    return rules.rule(f"({text} | {others})+" if others else text)
