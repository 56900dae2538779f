"""Rows that hold a conversation with tools: what was called and what came of it, as a chat template takes it."""

from __future__ import annotations

import json
from typing import Any

from casspec.tuner.suites.files import conversations
from casspec.tuner.suites.files.conversations import content_of, listed
from casspec.tuner.suites.files.rows import Request, UnusableRow, shortened, task_of

ROLES = {**conversations.ROLES, "tool": "tool"}


def messages(row: dict[str, Any], field: str = "messages") -> Request:
    """A row with OpenAI's `messages`, and perhaps `tools`. Raises UnusableRow."""
    told = listed(row, field)
    if row.get("tools") or any(_has_tools(message) for message in told):
        return _request(row, told)
    return conversations.messages(row, field)


def _has_tools(message: Any) -> bool:
    return isinstance(message, dict) and (message.get("role") == "tool" or bool(message.get("tool_calls")))


def _request(row: dict[str, Any], told: list[Any]) -> Request:
    """The conversation up to the last question or the last answer of a tool; what the model says to that is what is asked for."""
    said = [_message(place, message) for place, message in enumerate(told, start=1)]
    while said and said[-1]["role"] == "assistant":
        said.pop()
    questions = [message["content"] for message in said if message["role"] == "user"]
    if not questions or not questions[-1].strip():
        raise UnusableRow("no question")
    asked = {"messages": said, "tools": _tools(row.get("tools"))}
    return Request(turns=(questions[-1],), task=task_of(row), conversation=json.dumps(asked, ensure_ascii=False))


def _message(place: int, message: Any) -> dict[str, Any]:
    if not isinstance(message, dict):
        raise UnusableRow(f"message {place} is {shortened(message)}; expected an object")
    role = ROLES.get(message["role"]) if isinstance(message.get("role"), str) else None
    if role is None:
        raise UnusableRow(f"message {place} is of role {shortened(message.get('role'))}")
    told: dict[str, Any] = {"role": role, "content": content_of(message.get("content"), place)}
    for name in ("name", "tool_call_id", "reasoning_content"):
        if isinstance(message.get(name), str):
            told[name] = message[name]
    calls = message.get("tool_calls")
    if calls:
        if role != "assistant" or not isinstance(calls, list):
            raise UnusableRow(f"message {place} has calls that are none")
        told["tool_calls"] = [_call(place, call) for call in calls]
    return told


def _call(place: int, call: Any) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(function, dict) or not isinstance(name, str):
        raise UnusableRow(f"message {place} calls {shortened(call)}; expected a function with a name")
    arguments = function.get("arguments") or {}
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            arguments = None
    if not isinstance(arguments, dict):
        raise UnusableRow(f"message {place} calls {name} with arguments that are no JSON object")
    called = {"type": "function", "function": {"name": name, "arguments": arguments}}
    return {"id": call["id"], **called} if isinstance(call.get("id"), str) else called


def _tools(tools: Any) -> list[dict[str, Any]]:
    if tools is None:
        return []
    if not isinstance(tools, list) or not all(
        isinstance(tool, dict) and isinstance(tool.get("function"), dict) for tool in tools
    ):
        raise UnusableRow(f"tools are {shortened(tools)}; expected a list of functions")
    return tools
