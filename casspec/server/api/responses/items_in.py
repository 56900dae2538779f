"""What /v1/responses takes as input: messages, calls of an earlier answer, and what they came to."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from casspec.server.api.fields import Fields
from casspec.server.api.messages import SYSTEM, called
from casspec.server.errors import refused

Status = Literal["in_progress", "completed", "incomplete"]


class InputPart(Fields):
    type: Literal["input_text", "output_text"]
    text: str
    annotations: list[Any] | None = Field(None, max_length=0)
    logprobs: list[Any] | None = None


class InputMessage(Fields):
    """A message; one of an earlier answer may come as it was answered."""

    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[InputPart]
    type: Literal["message"] | None = None
    id: str | None = None
    status: Status | None = None
    phase: None = None


class InputCall(Fields):
    """A call of an earlier answer."""

    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str
    id: str | None = None
    status: Status | None = None
    namespace: None = None
    caller: None = None


class OutputPart(Fields):
    type: Literal["input_text"]
    text: str


class InputOutput(Fields):
    """What a call came to."""

    type: Literal["function_call_output"]
    call_id: str
    output: str | list[OutputPart]
    id: str | None = None
    status: Status | None = None
    name: None = None
    caller: None = None


class ReasoningPart(Fields):
    type: Literal["reasoning_text"]
    text: str


class InputReasoning(Fields):
    """What was thought before an earlier answer."""

    type: Literal["reasoning"]
    content: list[ReasoningPart] | None = None
    summary: list[Any] | None = Field(None, max_length=0)
    encrypted_content: None = None
    id: str | None = None
    status: Status | None = None


InputItem = InputCall | InputOutput | InputReasoning | InputMessage


def input_messages(given: str | list[InputItem], instructions: str | None) -> list[dict[str, Any]]:
    """Instructions and input as chat templates take them: calls in a row, and what was said and thought before them, are one message.

    Raises ApiError for an input without items, and for one that answers no call.
    """
    items = [InputMessage(role="user", content=given)] if isinstance(given, str) else given
    if not items:
        raise refused("input", "holds no message", "invalid_value")
    told: list[dict[str, Any]] = [] if instructions is None else [{"role": "system", "content": instructions}]
    names: dict[str, str] = {}
    goes_on = False  # whether the last message is an assistant's that is not over
    for place, item in enumerate(items):
        if isinstance(item, InputOutput):
            if item.call_id not in names:
                raise refused(f"input.{place}.call_id", "answers no function_call of the input", "invalid_value")
            content = _text(item.output)
            told.append({"role": "tool", "content": content, "tool_call_id": item.call_id, "name": names[item.call_id]})
            goes_on = False
            continue
        if isinstance(item, InputMessage) and item.role != "assistant":
            told.append({"role": SYSTEM.get(item.role, item.role), "content": _text(item.content)})
            goes_on = False
            continue
        if not goes_on or (isinstance(item, InputReasoning) and told[-1].keys() - {"role", "content"}):
            told.append({"role": "assistant", "content": ""})
        goes_on = True
        _add(told[-1], item, place)
        if isinstance(item, InputCall):
            names[item.call_id] = item.name
    return told


def _add(message: dict[str, Any], item: InputCall | InputReasoning | InputMessage, place: int) -> None:
    if isinstance(item, InputCall):
        call = called(item.call_id, item.name, item.arguments, f"input.{place}.arguments")
        message.setdefault("tool_calls", []).append(call)
    elif isinstance(item, InputReasoning):
        message["reasoning_content"] = _text(item.content or [])
    else:
        message["content"] += _text(item.content)


def _text(content: str | list[Any]) -> str:
    return content if isinstance(content, str) else "".join(part.text for part in content)
