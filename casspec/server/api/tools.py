"""Tools of a chat: what the template is given, what the engine, and how replies are read."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from casspec.server.api.fields import Fields
from casspec.server.api.formats import ready
from casspec.server.errors import ApiError, refused
from casspec.server.replies import Told
from casspec.server.service import Service
from casspec.server.tool_calls.choice import ToolUse, tool_use
from casspec.server.tool_calls.deltas import ContentDelta, Delta, ReasoningDelta, ToolCallDelta, joined
from casspec.storage.errors import UnsupportedOption

_PLACE = re.compile(r"tools\[(\d+)\]\.?(\S*)|(tool_choice)\b")


class Tool(BaseModel):
    """A function that the model may call; the chat template is given all of it."""

    model_config = ConfigDict(extra="allow", strict=True)

    type: Literal["function"]


ToolChoice = Literal["none", "auto", "required"] | dict[str, Any]


class FlatTool(Fields):
    """A function that the model may call, as responses have it."""

    type: Literal["function"]
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None

    def as_tool(self) -> Tool:
        """As chats have it."""
        function = self.model_dump(exclude={"type"}, exclude_none=True)
        return Tool.model_validate({"type": "function", "function": function})


class FlatChoice(Fields):
    """The function that has to be called, as responses have it."""

    type: Literal["function"]
    name: str

    def as_choice(self) -> dict[str, Any]:
        """As chats have it."""
        return {"type": "function", "function": {"name": self.name}}


class ToolReplies:
    """What the tools of one request mean for it.

    Args:
        n_texts: replies that are read. several: whether a reply may have more than one call; those after it are left out else.

    Attributes:
        arguments: of the chat template. options: of the engine.
    """

    def __init__(self, use: ToolUse, tokenizer: Any, n_texts: int, several: bool) -> None:
        self._use, self._several = use, several
        self._readers = [use.reader() for _ in range(n_texts)]
        self._have_called = [False] * n_texts
        self.arguments = {"tools": use.given}
        self.options: dict[str, Any] = {"shown_tokens": use.shown_tokens(tokenizer)}
        if use.grammar is not None:
            self.options["grammar"] = use.grammar

    def deltas(self, index: int, text: str) -> list[Delta]:
        """What is certain of a reply with one more piece of its text."""
        return self._kept(index, self._readers[index].push(text))

    def last_deltas(self, index: int) -> list[Delta]:
        """The rest; nothing follows."""
        return self._kept(index, self._readers[index].finish())

    def pushed(self, index: int, text: str) -> list[dict[str, Any]]:
        """`deltas`, as a stream of chat completions tells them."""
        return [_told(delta) for delta in self.deltas(index, text)]

    def finished(self, index: int) -> list[dict[str, Any]]:
        """`last_deltas`, likewise."""
        return [_told(delta) for delta in self.last_deltas(index)]

    def message(self, index: int, text: str) -> dict[str, Any]:
        """Fields of a whole reply."""
        found = joined([*self.deltas(index, text), *self.last_deltas(index)])
        told: dict[str, Any] = {"content": found.content or (None if found.calls else "")}
        if found.calls:
            told["tool_calls"] = found.calls_as_openai()
        if found.reasoning:
            told["reasoning_content"] = found.reasoning
        return told

    def finish_reason(self, index: int, told: Told) -> str:
        """Of a reply that was read to its end."""
        calls = self._have_called[index] and told.finish_reason == "stop"
        return "tool_calls" if calls else told.finish_reason

    def _kept(self, index: int, deltas: list[Delta]) -> list[Delta]:
        calls = [delta for delta in deltas if isinstance(delta, ToolCallDelta)]
        self._have_called[index] |= bool(calls)
        if self._several:
            return deltas
        return [delta for delta in deltas if not isinstance(delta, ToolCallDelta) or delta.index == 0]


def _told(delta: Delta) -> dict[str, Any]:
    if isinstance(delta, ContentDelta):
        return {"content": delta.text}
    if isinstance(delta, ReasoningDelta):
        return {"reasoning_content": delta.text}
    return {"tool_calls": [delta.as_openai()]}


def tool_replies(
    service: Service,
    tools: list[Tool] | None,
    choice: ToolChoice | None,
    parallel: bool | None,
    n_texts: int,
    format_field: str | None,
) -> ToolReplies | None:
    """Of a chat; None where no tool may be called.

    Args:
        format_field: where the text is said to follow something else, if it is.

    Raises ApiError, which names the field, for what cannot be honoured.
    """
    if not tools and parallel is not None:
        raise refused("parallel_tool_calls", "there are no tools to call; leave it out", "invalid_value")
    tokenizer, several = service.engines.target.tokenizer, parallel is not False
    try:
        use = tool_use(tokenizer, [tool.model_dump() for tool in tools or ()], choice, several)
    except UnsupportedOption as error:
        message = " ".join(str(error).split())
        raise ApiError(400, message, _field_of(message), "invalid_value") from error
    if use is None:
        return None
    if format_field is not None:
        raise refused(format_field, "a reply that may call tools is free text; leave one of both out")
    if use.grammar is not None:
        ready(service, use.grammar, "tools")
    return ToolReplies(use, tokenizer, n_texts, several)


def _field_of(message: str) -> str:
    """The field that an error names first."""
    found = _PLACE.search(message)
    if found is None or found[3]:
        return "tools" if found is None else "tool_choice"
    return ".".join(part for part in ("tools", found[1], found[2]) if part)
