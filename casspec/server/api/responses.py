"""/v1/responses: OpenAI's newer API, without any state: nothing is stored, and nothing earlier can be gone on from."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator
from typing import Any, Literal

from pydantic import Field

from casspec.server.api.fields import MOST_LOGPROBS, Count, Fields, Seed, SharedFields
from casspec.server.api.formats import Format, Written, format_options
from casspec.server.api.logprobs import chat_logprobs
from casspec.server.api.messages import SYSTEM
from casspec.server.api.options import check_model, limit, method_of, shared_options
from casspec.server.api.response_events import ResponseEvents
from casspec.server.api.tools import Tool, ToolChoice, check_no_tools
from casspec.server.api.usage import response_usage
from casspec.server.errors import refused
from casspec.server.replies import Reply, Told
from casspec.server.service import Service
from casspec.server.step_thread import Order

LOGPROBS = "message.output_text.logprobs"


class InputPart(Fields):
    type: Literal["input_text", "output_text"]
    text: str
    annotations: list[Any] | None = Field(None, max_length=0)
    logprobs: list[Any] | None = None


class InputMessage(Fields):
    """A message of the input; one of an earlier answer may come as it was answered."""

    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[InputPart]
    type: Literal["message"] | None = None
    id: str | None = None
    status: Literal["in_progress", "completed", "incomplete"] | None = None
    phase: None = None


class TextFormat(Fields):
    format: Format | None = None
    verbosity: None = None


class ResponseStreamOptions(Fields):
    include_obfuscation: Literal[False] | None = None


class ResponseRequest(SharedFields):
    """`store`, `background`, `truncation` and `service_tier` are honoured where they ask for what is done anyway."""

    input: str | list[InputMessage]
    instructions: str | None = None
    max_output_tokens: Count | None = None
    seed: Seed | None = None
    text: TextFormat | None = None
    grammar: Written | None = None
    top_logprobs: int | None = Field(None, ge=0, le=MOST_LOGPROBS)
    include: list[Literal["message.output_text.logprobs"]] | None = None
    metadata: dict[str, str] | None = Field(None, max_length=16)
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
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
        check_no_tools(body.tools, body.tool_choice, body.parallel_tool_calls)
        messages = _messages(body)
        prompt = service.tokens.conversation(messages, body.chat_template_kwargs or {})
        options = shared_options(service, body)
        options |= format_options(service, self._format, "text.format", body.grammar)
        options["seed"] = None if body.seed is None else body.seed % (1 << 64)
        options["max_new_tokens"] = limit(service, body.max_output_tokens, service.settings.chat_tokens)
        options["logprobs"] = (body.top_logprobs or 0) if self._wants_logprobs else None
        self.orders = [Order(prompt, options, 0, method_of(body))]
        self.given = [{"messages": messages}]
        self.options = body.model_dump(exclude_none=True) | {"max_tokens": body.max_output_tokens}
        self._id, self._message_id = f"resp_{uuid.uuid4().hex}", f"msg_{uuid.uuid4().hex}"
        self._created = time.time()

    def whole(self, told: list[Told]) -> dict[str, Any]:
        return self.told(told[0])

    def stream(self, reply: Reply) -> AsyncIterator[str]:
        return ResponseEvents(self, self._message_id).of(reply)

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
            "output": [self.message(told)],
            "usage": response_usage(told),
        }

    def message(self, told: Told) -> dict[str, Any]:
        """The one item of the output."""
        return {
            "type": "message",
            "id": self._message_id,
            "role": "assistant",
            "status": "incomplete" if told.finish_reason == "length" else "completed",
            "content": [self.part(told)],
        }

    def part(self, told: Told) -> dict[str, Any]:
        """The one part of the message."""
        logprobs = self.logprobs(told.generation.logprobs) if told.generation else []
        return {"type": "output_text", "text": told.text, "annotations": [], "logprobs": logprobs}

    def logprobs(self, told: Any) -> list[dict[str, Any]]:
        """Of tokens, as responses write them; [] where nobody asked."""
        if not self._wants_logprobs:
            return []
        return chat_logprobs(self._service.tokens, told, self._body.top_logprobs or 0)

    def _head(self) -> dict[str, Any]:
        body, options = self._body, self.orders[0].options
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
            "parallel_tool_calls": bool(body.parallel_tool_calls),
            "previous_response_id": None,
            "service_tier": "default",
            "store": False,
            "temperature": body.temperature,
            "text": {"format": told},
            "tool_choice": body.tool_choice or "none",
            "tools": [tool.model_dump() for tool in body.tools or ()],
            "top_logprobs": body.top_logprobs or 0,
            "top_p": body.top_p,
            "truncation": "disabled",
            "user": body.user,
        }


def _messages(body: ResponseRequest) -> list[dict[str, Any]]:
    """Instructions and input as chat templates take them."""
    given = [InputMessage(role="user", content=body.input)] if isinstance(body.input, str) else body.input
    if not given:
        raise refused("input", "holds no message", "invalid_value")
    told = [{"role": "system", "content": body.instructions}] if body.instructions is not None else []
    for message in given:
        content = message.content
        text = content if isinstance(content, str) else "".join(part.text for part in content)
        told.append({"role": SYSTEM.get(message.role, message.role), "content": text})
    return told
