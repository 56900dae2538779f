"""Which shape a row has, by the fields it has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from casspec.tuner.suites.files import conversations, questions, tool_conversations
from casspec.tuner.suites.files.rows import Found, Request, UnusableRow, is_name

ID_FIELDS = ("custom_id", "id", "conversation_id", "question_id")


@dataclass(frozen=True)
class Shape:
    """A kind of row."""

    name: str
    """What is told of a file of such rows, in the plural."""
    fits: Callable[[dict[str, Any]], bool]
    read: Callable[[dict[str, Any]], Request]
    """Raises UnusableRow."""


def _has(*fields: str) -> Callable[[dict[str, Any]], bool]:
    return lambda row: any(field in row for field in fields)


def _has_body(field: str) -> Callable[[dict[str, Any]], bool]:
    return lambda row: isinstance(row.get("body"), dict) and field in row["body"]


def _is_conversational(row: dict[str, Any]) -> bool:
    return isinstance(row.get("prompt"), list)


SHAPES = (
    Shape("Spec-Bench questions", _has("turns"), questions.spec_bench),
    Shape("OpenAI messages", _has("messages"), tool_conversations.messages),
    Shape("OpenAI batch requests", _has_body("messages"), lambda row: tool_conversations.messages(row["body"])),
    Shape("OpenAI batch requests", _has_body("prompt"), lambda row: questions.completion(row["body"])),
    Shape("ShareGPT conversations", _has("conversations", "conversation"), conversations.share_gpt),
    Shape("OpenAI messages", _is_conversational, lambda row: tool_conversations.messages(row, "prompt")),
    Shape("prompt rows", _has("prompt"), questions.prompt),
    Shape("Spec-Bench questions", _has("question_id"), questions.spec_bench),
)
"""The first that fits is taken. Nothing else of a row is looked at but what its shape has, its ID and its category."""

FIELDS = ("turns", "messages", "conversations", "prompt")
"""What rows are recognised by, for messages."""


def recognised(row: int, value: Any) -> Found:
    """The request in a value of a file. Raises UnusableRow, for a value of no known shape too."""
    if not isinstance(value, dict):
        raise UnusableRow(f"got a JSON {type(value).__name__}; expected an object")
    shape = next((shape for shape in SHAPES if shape.fits(value)), None)
    if shape is None:
        raise UnusableRow("no prompt")
    request = shape.read(value)
    if request.id is None:
        request = replace(request, id=_own_id(value))
    return Found(row, shape.name, request)


def _own_id(value: dict[str, Any]) -> str | None:
    """A name of the row's own, which may not look like that of a later turn."""
    for field in ID_FIELDS:
        own = value.get(field)
        if isinstance(own, int | str) and not isinstance(own, bool) and is_name(str(own)) and "#" not in str(own):
            return str(own)
    return None
