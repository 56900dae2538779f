"""What comes out of a message: pieces of content, of reasoning, and calls."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call as the model wrote it.

    Attributes:
        arguments: a JSON object, as text.
    """

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ContentDelta:
    text: str


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """Of a format that tells what is thought from what is said."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of a call. The first of an index has `id` and `name`, those after it have a piece of `arguments`."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""

    def as_openai(self) -> dict[str, Any]:
        """As a chunk of a chat completion holds it."""
        function: dict[str, Any] = {"arguments": self.arguments}
        if self.id is None:
            return {"index": self.index, "function": function}
        return {"index": self.index, "id": self.id, "type": "function", "function": {"name": self.name, **function}}


Delta = ContentDelta | ReasoningDelta | ToolCallDelta


def new_id() -> str:
    """Of a call."""
    return f"call_{secrets.token_hex(12)}"


@dataclass(frozen=True, slots=True)
class Message:
    """All deltas of a message together; `calls` are (id, call)."""

    content: str
    reasoning: str
    calls: tuple[tuple[str, ToolCall], ...]

    def calls_as_openai(self) -> list[dict[str, Any]]:
        """As a chat completion holds them."""
        return [
            {"id": one, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for one, call in self.calls
        ]


def joined(deltas: list[Delta]) -> Message:
    """A message from its deltas in order."""
    content = "".join(one.text for one in deltas if isinstance(one, ContentDelta))
    reasoning = "".join(one.text for one in deltas if isinstance(one, ReasoningDelta))
    named: dict[int, tuple[str, str]] = {}
    arguments: dict[int, str] = {}
    for one in deltas:
        if isinstance(one, ToolCallDelta):
            if one.id is not None and one.name is not None:
                named[one.index] = one.id, one.name
            arguments[one.index] = arguments.get(one.index, "") + one.arguments
    calls = tuple((key, ToolCall(name, arguments[index])) for index, (key, name) in sorted(named.items()))
    return Message(content, reasoning, calls)
