"""Formats that write calls between two tags, to be read as a whole: Python.

| family | a block |
|---|---|
| OLMo 3 | `<function_calls>name(key="value", ...)` a line, `</function_calls>` |
"""

from __future__ import annotations

import ast
from collections.abc import Callable

from casspec.server.tool_calls.deltas import ToolCall
from casspec.server.tool_calls.json_text import made_call
from casspec.server.tool_calls.stream import Begun, Block, Tools

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

    def go_on(self, text: str, begun: Begun, tools: Tools | None, is_last: bool) -> Block:
        return Block(0)  # calls are whole


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
