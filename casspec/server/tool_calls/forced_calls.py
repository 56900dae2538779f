"""The grammar of a message that is calls and nothing else: each of a tool there is, its arguments by that tool's schema."""

from __future__ import annotations

from typing import Any

from casspec.runtime.text.grammar import Grammar
from casspec.server.tool_calls.channel_rules import channel_call, thought
from casspec.server.tool_calls.formats import Forced, ToolFormat
from casspec.server.tool_calls.lark import LarkRules, any_of, in_turn
from casspec.server.tool_calls.stream import Tools
from casspec.server.tool_calls.tag_rules import python_arguments, tag_arguments


def forced_calls(form: ToolFormat, tools: Tools, tokenizer: Any, several: bool) -> Grammar:
    """The grammar, in llguidance's Lark. A format of channels may think before.

    Args:
        tools: schemas by name, any of which may be called. several: whether more than one call may come.

    Raises UnsupportedOption for a schema that the format's calls cannot be held to.
    """
    rules = LarkRules(tokenizer, form.shown)
    if form.forced is None:
        return rules.grammar(in_turn(f"({thought(rules)})?", channel_call(rules, tools)))
    return rules.grammar(calls_rule(rules, form.forced, tools, several))


def calls_rule(rules: LarkRules, forced: Forced, tools: Tools, several: bool, cut: str = "") -> str:
    """The expression of a block of calls.

    Args:
        cut: what the block begins with and was said already.

    Raises as `forced_calls`.
    """
    opener = forced.opener.removeprefix(cut)
    begin = forced.begin if forced.opener else forced.begin.removeprefix(cut)
    call = rules.rule(any_of(_calls(rules, forced, tools, several, begin)))
    again = f"({in_turn(rules.written(forced.between), call)})*" if several and forced.shape != "array" else ""
    return in_turn(rules.written(opener), call, again, rules.written(forced.ending))


def _calls(rules: LarkRules, forced: Forced, tools: Tools, several: bool, begin: str) -> list[str]:
    """An expression a call, or one for all of them."""
    if forced.shape in ("object", "array"):
        return [in_turn(rules.written(begin), rules.json(_schema(forced, tools, several)), rules.written(forced.end))]
    return [
        in_turn(
            rules.written(begin.replace("{name}", name)),
            _arguments(rules, forced, name, schema),
            rules.written(forced.end),
        )
        for name, schema in tools.items()
    ]


def _arguments(rules: LarkRules, forced: Forced, name: str, schema: Any) -> str:
    if forced.shape == "named":
        return rules.json(schema)
    if forced.shape == "python":
        return python_arguments(rules, name, schema)
    return tag_arguments(rules, name, schema, *forced.pair, forced.ends)


def _schema(forced: Forced, tools: Tools, several: bool) -> dict[str, Any]:
    field = forced.arguments or "arguments"
    calls = [
        {
            "type": "object",
            "properties": {"name": {"const": name}, field: schema},
            "required": ["name", field],
            "additionalProperties": False,
        }
        for name, schema in tools.items()
    ]
    one = calls[0] if len(calls) == 1 else {"anyOf": calls}
    if forced.shape != "array":
        return one
    return {"type": "array", "items": one, "minItems": 1, **({} if several else {"maxItems": 1})}
