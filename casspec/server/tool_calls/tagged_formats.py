"""Formats that write calls in tags, or as Python.

| family | a block |
|---|---|
| Qwen3-Coder | `<tool_call><function=name><parameter=key>\\nvalue\\n</parameter> ... </function></tool_call>` |
| GLM 4.5 | `<tool_call>name<arg_key>key</arg_key><arg_value>value</arg_value> ... </tool_call>` |
| OLMo 3 | `<function_calls>name(key="value", ...)` a line, `</function_calls>` |

Values between tags are text: what a tool's schema calls a string stays one, anything else is JSON where it can be read as such.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from typing import Any

from casspec.server.tool_calls.deltas import ToolCall
from casspec.server.tool_calls.json_text import made_call, value_of
from casspec.server.tool_calls.stream import Block, Tools

MOST_PYTHON = 1 << 16
"""Characters of calls written as Python."""

Reading = Callable[[str, Tools | None], list[ToolCall] | None]


class Tagged:
    """Calls between two tags.

    Args:
        read_calls: of the text between them; None where it holds none.
    """

    only_first = False

    def __init__(self, opener: str, closer: str, read_calls: Reading) -> None:
        self.markers: tuple[str, ...] = (opener,)
        self._closer, self._calls = closer, read_calls

    def read(self, text: str, tools: Tools | None, is_last: bool) -> Block | None:
        begin = len(self.markers[0])
        end = text.find(self._closer, begin)
        if end < 0:
            return None
        return Block(end + len(self._closer), self._calls(text[begin:end], tools) or ())


_FUNCTION = re.compile(r"\s*<function=([^>\s]+)>\s*(.*?)\s*</function>\s*", re.DOTALL)
_PARAMETER = re.compile(r"\s*<parameter=([^>\s]+)>\n?(.*?)\n?</parameter>\s*", re.DOTALL)
_PAIR = re.compile(r"\s*<arg_key>(.*?)</arg_key>\s*<arg_value>(.*?)</arg_value>\s*", re.DOTALL)


def function_tags(text: str, tools: Tools | None) -> list[ToolCall] | None:
    """Of Qwen3-Coder."""
    found = _FUNCTION.fullmatch(text)
    if found is None:
        return None
    return _call(found[1], _pairs(_PARAMETER, found[2]), tools)


def argument_tags(text: str, tools: Tools | None) -> list[ToolCall] | None:
    """Of GLM 4.5."""
    begin = text.find("<arg_key>")
    name, rest = (text, "") if begin < 0 else (text[:begin], text[begin:])
    return _call(name.strip(), _pairs(_PAIR, rest), tools)


def python_calls(text: str, tools: Tools | None) -> list[ToolCall] | None:
    """Of OLMo 3: a call a line, arguments by keyword, JSON's constants allowed."""
    try:
        if len(text) > MOST_PYTHON:
            return None
        lines = ast.parse(text.strip()).body
        calls = [_python_call(line, tools) for line in lines]
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        return None
    return None if None in calls else [call for call in calls if call is not None]


def _python_call(line: ast.stmt, tools: Tools | None) -> ToolCall | None:
    if not isinstance(line, ast.Expr) or not isinstance(line.value, ast.Call) or line.value.args:
        return None
    arguments = {}
    for keyword in line.value.keywords:
        if keyword.arg is None:
            return None
        arguments[keyword.arg] = ast.literal_eval(_WithConstants().visit(keyword.value))
    return made_call(ast.unparse(line.value.func), arguments, tools)


class _WithConstants(ast.NodeTransformer):
    """Writes JSON's constants as Python's."""

    def visit_Name(self, node: ast.Name) -> ast.AST:
        known = {"true": True, "false": False, "null": None}
        return ast.Constant(known[node.id]) if node.id in known else node


def _pairs(pattern: re.Pattern[str], text: str) -> list[tuple[str, str]] | None:
    """Keys and values one after the other; None where anything stands between."""
    found, place = list[tuple[str, str]](), 0
    while place < len(text):
        pair = pattern.match(text, place)
        if pair is None:
            return None
        found.append((pair[1], pair[2]))
        place = pair.end()
    return found


def _call(name: str, pairs: list[tuple[str, str]] | None, tools: Tools | None) -> list[ToolCall] | None:
    if pairs is None or not name:
        return None
    schema = (tools or {}).get(name) or {}
    call = made_call(name, {key: _typed(value, key, schema) for key, value in pairs}, tools)
    return None if call is None else [call]


def _typed(value: str, key: str, schema: Any) -> Any:
    properties = schema.get("properties") if isinstance(schema, dict) else None
    asked = properties.get(key) if isinstance(properties, dict) else None
    if isinstance(asked, dict) and asked.get("type") == "string":
        return value
    found = value_of(value)
    return value if found is None and value.strip() != "null" else found
