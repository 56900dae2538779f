"""The grammar of a reply that is free until it calls: then each call is of a tool there is, its arguments by that tool's schema."""

from __future__ import annotations

import json
from typing import Any

from casspec.runtime.text.grammar import Grammar
from casspec.server.tool_calls.channel_rules import channel_call, said
from casspec.server.tool_calls.forced_calls import calls_rule
from casspec.server.tool_calls.formats import Forced, ToolFormat
from casspec.server.tool_calls.lark import LarkRules, any_of, in_turn
from casspec.server.tool_calls.stream import BlockFormat, Tools

SPACE = "/\\s+/"

_WORDS = ("functools",)
"""Markers that are words of ordinary text too: a call begins only where a bracket follows."""


def strict_calls(form: ToolFormat, tools: Tools, tokenizer: Any, several: bool) -> Grammar:
    """The grammar, in llguidance's Lark. What is said before, between and after calls is free, added tokens of other meaning included.

    Args:
        tools: schemas by name; that of a tool which is not strict is any object's. several: whether a block may have more than one call.

    Raises UnsupportedOption for a schema that the format's calls cannot be held to.
    """
    rules = LarkRules(tokenizer, form.shown)
    if form.blocks is None or form.forced is None:
        last = any_of([said(rules, is_last=True), channel_call(rules, tools, is_free=True)])
        return rules.grammar(f"({said(rules, is_last=False)})* {last}?")
    others = rules.other_tokens(form.blocks.markers)
    if form.blocks.only_first:
        return rules.grammar(_whole_message(rules, form.blocks, form.forced, tools, several, others))
    free = _free(rules, rules.text(form.blocks.markers), others)
    until = {one: f"{free}? {rules.text_until(one, form.blocks.markers)}" for one in form.blocks.markers}
    blocks = [in_turn(until[one], _behind(rules, form.blocks, form.forced, tools, several, one)) for one in until]
    ends = [f"{free}?", *(in_turn(until[one], f"{rules.terminal(SPACE)}?") for one in until if one in _WORDS)]
    return rules.grammar(f"{any_of(blocks)}* {any_of(ends)}")


def _behind(rules: LarkRules, blocks: BlockFormat, forced: Forced, tools: Tools, several: bool, marker: str) -> str:
    """The calls behind a marker."""
    if (forced.opener or forced.begin).startswith(marker):
        several = several and bool(forced.opener or forced.shape == "array")
        return calls_rule(rules, forced, tools, several, marker)
    calls = calls_rule(rules, Forced("", arguments=forced.arguments, shape=forced.shape), tools, several)
    if marker not in _WORDS:
        return calls
    return any_of([calls, rules.text(blocks.markers, first="\\s*[^\\s\\[{]", least=0)])


def _whole_message(
    rules: LarkRules, blocks: BlockFormat, forced: Forced, tools: Tools, several: bool, others: str
) -> str:
    """Calls from the message's beginning on, or text that begins otherwise."""
    tag, *starts = blocks.markers
    first = "\\s*[^\\s" + "".join(f"\\{one}" for one in starts) + "]"
    before = f"{others}*" if others else ""
    said = in_turn(rules.text((tag,), least=0, first=first), f"({_free(rules, rules.text((tag,)), others)})?")
    space = rules.terminal(SPACE)
    marked = f"({rules.written(tag)} | {json.dumps(tag)})?"
    calls = calls_rule(rules, forced, tools, several)
    return f"{before} ({said} | {space}? {marked} {calls} | {space})?"


def _free(rules: LarkRules, text: str, others: str) -> str:
    return rules.rule(f"({text} | {others})+" if others else text)
