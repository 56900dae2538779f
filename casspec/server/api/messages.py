"""A conversation as clients send it, and as chat templates take it."""

from __future__ import annotations

import json
from typing import Any, Literal

from casspec.server.api.fields import Fields, TextPart
from casspec.server.errors import refused

SYSTEM = {"developer": "system"}
"""Roles by another name, which templates do not know."""


class CalledFunction(Fields):
    name: str
    arguments: str


class ToolCall(Fields):
    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


class Message(Fields):
    """One message. Those of the assistant may come as they were answered, empty fields included."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None
    refusal: None = None
    audio: None = None
    function_call: None = None
    annotations: list[dict[str, Any]] | None = None


def plain_text(content: str | list[TextPart] | None) -> str:
    """Of a message's parts."""
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(part.text for part in content)


def for_template(messages: list[Message]) -> list[dict[str, Any]]:
    """Messages as the library's templates take them: the arguments of a call as an object.

    Raises ApiError for a conversation without messages, and for one that says what its role cannot.
    """
    if not messages:
        raise refused("messages", "holds no message", "invalid_value")
    return [_for_template(message, place) for place, message in enumerate(messages)]


def _for_template(message: Message, place: int) -> dict[str, Any]:
    where = f"messages.{place}"
    if message.tool_calls and message.role != "assistant":
        raise refused(f"{where}.tool_calls", f"a message of role {message.role} calls nothing", "invalid_value")
    if message.tool_call_id is not None and message.role != "tool":
        raise refused(f"{where}.tool_call_id", f"a message of role {message.role} answers no call", "invalid_value")
    if message.content is None and not message.tool_calls:
        raise refused(f"{where}.content", "is missing", "missing_required_parameter")
    if message.annotations:
        raise refused(f"{where}.annotations", "no template writes them; leave them out")
    told: dict[str, Any] = {
        "role": SYSTEM.get(message.role, message.role),
        "content": plain_text(message.content),
    }
    for name in ("name", "tool_call_id", "reasoning_content"):
        if getattr(message, name) is not None:
            told[name] = getattr(message, name)
    if message.tool_calls:
        told["tool_calls"] = [
            called(call.id, call.function.name, call.function.arguments, f"{where}.tool_calls.{at}.function.arguments")
            for at, call in enumerate(message.tool_calls)
        ]
    return told


def called(key: str, name: str, given: str, where: str) -> dict[str, Any]:
    """A call as templates take it. Raises ApiError, which names `where`, for arguments that are no JSON object."""
    try:
        arguments = json.loads(given or "{}")
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        raise refused(where, "is no JSON object", "invalid_value")
    return {"id": key, "type": "function", "function": {"name": name, "arguments": arguments}}
