"""The grammar of a message that is calls and nothing else: each of a tool there is, its arguments by that tool's schema."""

from __future__ import annotations

import json
import re
from typing import Any

from casspec.runtime.text.grammar import Grammar
from casspec.server.tool_calls.formats import Forced, ToolFormat
from casspec.server.tool_calls.stream import Tools
from casspec.storage.errors import UnsupportedOption

AS_TEMPLATES_WRITE = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""White space of forced JSON: that of the calls in chat templates, which models learnt from."""


def forced_calls(form: ToolFormat, tools: Tools, tokenizer: Any, several: bool) -> Grammar:
    """The grammar, in llguidance's Lark.

    Args:
        tools: schemas by name, any of which may be called. several: whether more than one call may come.

    Raises UnsupportedOption for a format whose calls cannot be forced.
    """
    forced = form.forced
    if forced is None:
        raise UnsupportedOption(
            f"tool_choice can be 'auto' or 'none' with this model: calls as {form.name} writes them cannot be forced"
        )

    def written(text: str) -> str:
        return _written(text, form.shown, tokenizer)

    if forced.shape == "named":
        calls = {
            f"call_{place}": _joined(
                written(forced.begin.replace("{name}", name)), f"%json {_text(schema)}", written(forced.end)
            )
            for place, (name, schema) in enumerate(tools.items())
        }
    else:
        calls = {
            "call_0": _joined(
                written(forced.begin), f"%json {_text(_schema(forced, tools, several))}", written(forced.end)
            )
        }
    one = " | ".join(calls)
    again = f"({_joined(written(forced.between), 'call')})*" if several and forced.shape != "array" else ""
    lines = [f"start: {_joined(written(forced.opener), 'call', again, written(forced.ending))}", f"call: {one}"]
    return Grammar("lark", "\n".join([*lines, *(f"{name}: {rule}" for name, rule in calls.items())]))


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


def _written(text: str, markers: tuple[str, ...], tokenizer: Any) -> str:
    """A text in Lark, markers that are tokens of their own as these tokens."""
    added = {str(token): number for number, token in getattr(tokenizer, "added_tokens_decoder", {}).items()}
    tokens = {marker: added[marker] for marker in markers if marker in added}
    if not tokens:
        return json.dumps(text) if text else ""
    parts = re.split(f"({'|'.join(map(re.escape, tokens))})", text)
    return _joined(*(f"<[{tokens[part]}]>" if part in tokens else json.dumps(part) for part in parts if part))


def _text(schema: Any) -> str:
    return json.dumps({**schema, "x-guidance": AS_TEMPLATES_WRITE} if isinstance(schema, dict) else schema)


def _joined(*parts: str) -> str:
    return " ".join(part for part in parts if part)
