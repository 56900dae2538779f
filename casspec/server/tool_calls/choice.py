"""`tools` and `tool_choice` of a request: what the template is given, what is read, and what is forced."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from casspec.runtime.text.chat import template_of
from casspec.runtime.text.grammar import Grammar
from casspec.server.tool_calls.deltas import new_id
from casspec.server.tool_calls.forced_calls import forced_calls
from casspec.server.tool_calls.formats import ToolFormat, format_of
from casspec.server.tool_calls.stream import ToolCallReader, Tools
from casspec.server.tool_calls.strict_calls import strict_calls
from casspec.storage.errors import UnsupportedOption

MOST_TOOLS = 128

ANY: dict[str, Any] = {"type": "object"}
"""The schema of parameters that may be anything."""

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True)
class ToolUse:
    """What tools mean for one request.

    Attributes:
        form: how calls are written. tools: schemas by name. given: what the chat template is given as `tools`.
        grammar: of calls that have to come, or that have to follow their schemas where they come; None where the model is free.
    """

    form: ToolFormat
    tools: Tools
    given: list[dict[str, Any]]
    grammar: Grammar | None = None

    def reader(self, make_id: Callable[[], str] = new_id) -> ToolCallReader:
        """For one message."""
        return self.form.reader(self.tools, make_id)

    def shown_tokens(self, tokenizer: Any) -> list[int]:
        """Special tokens that the text has to show, so that calls can be read in it."""
        added = getattr(tokenizer, "added_tokens_decoder", {})
        return [number for number, token in added.items() if token.special and str(token) in self.form.shown]


def tool_use(
    tokenizer: Any, tools: Sequence[Any] | None, tool_choice: Any = None, parallel_tool_calls: bool = True
) -> ToolUse | None:
    """Of a request; None where no tool may be called, and then the template is given none.

    Args:
        tools: OpenAI's `{"type": "function", "function": {"name", "description", "parameters"}}`.
        tool_choice: "none", "auto", "required" or `{"type": "function", "function": {"name"}}`; by default "auto" where there are tools.
        parallel_tool_calls: whether forced calls may be several.

    Raises UnsupportedOption, which names the field, for anything else, and for a model whose calls cannot be read or forced.
    """
    if not tools:
        if tool_choice not in (None, "none", "auto"):
            raise UnsupportedOption(
                "tool_choice asks for a call and there are no tools; give tools, or leave tool_choice out"
            )
        return None
    schemas = _schemas(tools)
    named = _named(tool_choice, schemas)
    if tool_choice == "none":
        return None
    form = format_of(template_of(tokenizer))
    is_strict = {tool["function"]["name"]: bool(tool["function"].get("strict")) for tool in tools}
    grammar = None
    if named is not None:
        grammar = forced_calls(form, {named: schemas[named]}, tokenizer, several=False)
    elif tool_choice == "required":
        grammar = forced_calls(form, schemas, tokenizer, parallel_tool_calls)
    elif any(is_strict.values()):
        held = {name: schema if is_strict[name] else ANY for name, schema in schemas.items()}
        grammar = strict_calls(form, held, tokenizer, parallel_tool_calls)
    return ToolUse(form, schemas, [dict(tool) for tool in tools], grammar)


def _schemas(tools: Sequence[Any]) -> dict[str, Any]:
    if len(tools) > MOST_TOOLS:
        raise UnsupportedOption(f"tools takes up to {MOST_TOOLS}, not {len(tools)}")
    schemas: dict[str, Any] = {}
    for place, tool in enumerate(tools):
        function = tool.get("function") if isinstance(tool, Mapping) and tool.get("type") == "function" else None
        if not isinstance(function, Mapping):
            raise UnsupportedOption(
                f"tools[{place}] is no function: tools are {{'type': 'function', 'function': {{...}}}}"
            )
        name, schema = function.get("name"), function.get("parameters")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise UnsupportedOption(
                f"tools[{place}].function.name takes up to 64 letters, digits, - and _, not {name!r}"
            )
        if name in schemas:
            raise UnsupportedOption(f"tools[{place}].function.name is taken: two tools are called {name}")
        if schema is not None and not isinstance(schema, Mapping):
            raise UnsupportedOption(f"tools[{place}].function.parameters is a JSON schema, not {schema!r}")
        schemas[name] = dict(schema) if schema else ANY
    return schemas


def _named(tool_choice: Any, schemas: Tools) -> str | None:
    """The one tool that has to be called, if one is named."""
    if tool_choice is None or tool_choice in ("none", "auto", "required"):
        return None
    function = tool_choice.get("function") if isinstance(tool_choice, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) and tool_choice.get("type") == "function" else None
    if name not in schemas:
        raise UnsupportedOption(
            f"tool_choice is 'none', 'auto', 'required' or a function of tools by its name ({', '.join(schemas)}), not {tool_choice!r}"
        )
    return str(name)
