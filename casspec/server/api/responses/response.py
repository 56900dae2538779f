"""/v1/responses: OpenAI's newer API, without any state: nothing is stored, and nothing earlier can be gone on from."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal

from pydantic import Field

from casspec.runtime.text.logprobs import TokenLogprobs
from casspec.server.api.fields import MOST_LOGPROBS, Count, Fields, Seed, SharedFields
from casspec.server.api.formats import Format, Written, format_options
from casspec.server.api.logprobs import chat_logprobs
from casspec.server.api.options import check_model, limit, method_of, shared_options
from casspec.server.api.responses.events import ResponseEvents
from casspec.server.api.responses.items_in import InputItem, input_messages
from casspec.server.api.responses.items_out import Event, ResponseItems
from casspec.server.api.tools import FlatChoice, FlatTool, ToolReplies, tool_replies
from casspec.server.api.usage import response_usage
from casspec.server.errors import refused
from casspec.server.replies import Reply, Told
from casspec.server.service import Service
from casspec.server.step_thread import Delta, Order
from casspec.server.tool_calls.deltas import ContentDelta
from casspec.server.tool_calls.deltas import Delta as TextDelta

LOGPROBS = "message.output_text.logprobs"


class TextFormat(Fields):
    format: Format | None = None
    verbosity: None = None


class ResponseStreamOptions(Fields):
    include_obfuscation: Literal[False] | None = None


class ResponseRequest(SharedFields):
    """`store`, `background`, `truncation` and `service_tier` are honoured where they ask for what is done anyway."""

    input: str | list[InputItem]
    instructions: str | None = None
    max_output_tokens: Count | None = None
    seed: Seed | None = None
    text: TextFormat | None = None
    grammar: Written | None = None
    top_logprobs: int | None = Field(None, ge=0, le=MOST_LOGPROBS)
    include: list[Literal["message.output_text.logprobs"]] | None = None
    metadata: dict[str, str] | None = Field(None, max_length=16)
    tools: list[FlatTool] | None = None
    tool_choice: Literal["none", "auto", "required"] | FlatChoice | None = None
    parallel_tool_calls: bool | None = None
    stream_options: ResponseStreamOptions | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    store: Literal[False] | None = None
    background: Literal[False] | None = None
    truncation: Literal["disabled"] | None = None
    service_tier: Literal["auto", "default"] | None = None


class Response:
    """A call of the endpoint. Raises ApiError for what is refused."""

    def __init__(self, service: Service, body: ResponseRequest) -> None:
        check_model(service, body.model)
        self._service, self._body = service, body
        self.streams, self.fields = bool(body.stream), list(ResponseRequest.model_fields)
        self._wants_logprobs = LOGPROBS in (body.include or ())
        if body.top_logprobs is not None and not self._wants_logprobs:
            raise refused("top_logprobs", f"include {LOGPROBS} beside it, or leave it out", "invalid_value")
        if body.stream_options is not None and not body.stream:
            raise refused("stream_options", "the answer is no stream; set stream", "invalid_value")
        self._format = body.text.format if body.text else None
        formed = format_options(service, self._format, "text.format", body.grammar)
        self._tools = self._tools_of(body, bool(formed))
        messages = input_messages(body.input, body.instructions)
        arguments = (self._tools.arguments if self._tools else {}) | (body.chat_template_kwargs or {})
        prompt = service.tokens.conversation(messages, arguments)
        options = shared_options(service, body) | formed
        options |= self._tools.options if self._tools else {}
        options["seed"] = None if body.seed is None else body.seed % (1 << 64)
        options["max_new_tokens"] = limit(service, body.max_output_tokens, service.settings.chat_tokens)
        options["logprobs"] = (body.top_logprobs or 0) if self._wants_logprobs else None
        self.orders = [Order(prompt, options, 0, method_of(body))]
        self.given = [{"messages": messages}]
        self.options = body.model_dump(exclude_none=True) | {
            "max_tokens": body.max_output_tokens,
            "tools": self._tools and self._tools.arguments["tools"],
        }
        self._id, self._items = f"resp_{uuid.uuid4().hex}", ResponseItems(self._logprobs)
        self._created = time.time()

    def whole(self, told: list[Told]) -> dict[str, Any]:
        (one,) = told
        logprobs = one.generation.logprobs if one.generation else []
        self._items.add(self._deltas(one.text), logprobs)
        self.finished(one)
        return self.told(one)

    def stream(self, reply: Reply) -> AsyncIterator[str]:
        return ResponseEvents(self).of(reply)

    def pushed(self, happened: Delta) -> list[Event]:
        """Events of what a step brought."""
        return self._items.add(self._deltas(happened.text, bool(happened.logprobs)), happened.logprobs)

    def finished(self, told: Told) -> list[Event]:
        """Events of the end of the text."""
        rest = self._items.add(self._tools.last_deltas(0)) if self._tools else []
        return rest + self._items.finish(told.finish_reason == "length")

    def opened(self) -> dict[str, Any]:
        """The answer before anything is said."""
        return self._head() | {"status": "in_progress", "output": [], "usage": None}

    def told(self, told: Told) -> dict[str, Any]:
        """The answer once its text is over."""
        cut = told.finish_reason == "length"
        return self._head() | {
            "status": "incomplete" if cut else "completed",
            "completed_at": None if cut else time.time(),
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "output": self._items.items,
            "usage": response_usage(told),
        }

    def _tools_of(self, body: ResponseRequest, is_formed: bool) -> ToolReplies | None:
        choice = body.tool_choice.as_choice() if isinstance(body.tool_choice, FlatChoice) else body.tool_choice
        tools = [tool.as_tool() for tool in body.tools or ()]
        field = "text.format" if body.grammar is None else "grammar"
        found = tool_replies(self._service, tools, choice, body.parallel_tool_calls, 1, field if is_formed else None)
        if found is not None and self._wants_logprobs:
            raise refused("include", "logprobs of a reply that may call tools are told at /v1/chat/completions")
        return found

    def _deltas(self, text: str, is_told: bool = True) -> list[TextDelta]:
        if self._tools is not None:
            return self._tools.deltas(0, text)
        return [ContentDelta(text)] if text or is_told else []

    def _logprobs(self, told: Sequence[TokenLogprobs]) -> list[dict[str, Any]]:
        """Of tokens, as responses write them; [] where nobody asked."""
        if not self._wants_logprobs:
            return []
        return chat_logprobs(self._service.tokens, told, self._body.top_logprobs or 0)

    def _head(self) -> dict[str, Any]:
        body, options = self._body, self.orders[0].options
        choice = body.tool_choice or ("auto" if body.tools else "none")
        told = self._format.model_dump(by_alias=True, exclude_none=True) if self._format else {"type": "text"}
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "model": body.model,
            "error": None,
            "incomplete_details": None,
            "instructions": body.instructions,
            "max_output_tokens": options["max_new_tokens"],
            "metadata": body.metadata or {},
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            "previous_response_id": None,
            "service_tier": "default",
            "store": False,
            "temperature": body.temperature,
            "text": {"format": told},
            "tool_choice": choice.model_dump() if isinstance(choice, FlatChoice) else choice,
            "tools": [tool.model_dump() for tool in body.tools or ()],
            "top_logprobs": body.top_logprobs or 0,
            "top_p": body.top_p,
            "truncation": "disabled",
            "user": body.user,
        }
