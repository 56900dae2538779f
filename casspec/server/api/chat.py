"""/v1/chat/completions: the next message of a conversation, as OpenAI's API has it."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal

from pydantic import Field

from casspec.runtime.text.logprobs import TokenLogprobs
from casspec.server.api.answering import event
from casspec.server.api.fields import MOST_LOGPROBS, SampledFields, StreamOptions
from casspec.server.api.formats import Format, Written, format_options
from casspec.server.api.logprobs import chat_logprobs
from casspec.server.api.messages import Message, for_template
from casspec.server.api.options import check_model, check_stream_options, method_of, sampled_options
from casspec.server.api.tools import Tool, ToolChoice, tool_replies
from casspec.server.api.usage import running_usage, usage
from casspec.server.errors import refused
from casspec.server.replies import Reply, Told
from casspec.server.service import Service
from casspec.server.step_thread import Delta, Done, Event, Order


class ChatRequest(SampledFields):
    """`store`, `modalities` and `service_tier` are honoured where they ask for what is done anyway."""

    messages: list[Message]
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=MOST_LOGPROBS)
    response_format: Format | None = None
    grammar: Written | None = None
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    store: Literal[False] | None = None
    modalities: list[Literal["text"]] | None = None
    service_tier: Literal["auto", "default"] | None = None


class Chat:
    """A call of the endpoint. Raises ApiError for what is refused."""

    def __init__(self, service: Service, body: ChatRequest) -> None:
        check_model(service, body.model)
        self._service, self._body = service, body
        self.streams, self.fields = bool(body.stream), list(ChatRequest.model_fields)
        self._check(body)
        formed = format_options(service, body.response_format, "response_format", body.grammar)
        self._tools = tool_replies(
            service,
            body.tools,
            body.tool_choice,
            body.parallel_tool_calls,
            body.n or 1,
            ("response_format" if body.grammar is None else "grammar") if formed else None,
        )
        arguments = (self._tools.arguments if self._tools else {}) | (body.chat_template_kwargs or {})
        prompt = service.tokens.conversation(for_template(body.messages), arguments)
        options = sampled_options(service, body, service.settings.chat_tokens) | formed
        options |= self._tools.options if self._tools else {}
        options["logprobs"] = (body.top_logprobs or 0) if body.logprobs else None
        method = method_of(body)
        self.orders = [Order(prompt, options, sequence, method) for sequence in range(body.n or 1)]
        self.given = [{"messages": [message.model_dump(exclude_none=True) for message in body.messages]}]
        self.options = body.model_dump(exclude_none=True) | {"tools": self._tools and self._tools.arguments["tools"]}
        self._head = {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": body.model,
            "service_tier": "default",
        }

    def whole(self, told: list[Told]) -> dict[str, Any]:
        choices = [
            {
                "index": index,
                "message": {"role": "assistant", "refusal": None} | self._message(index, one.text),
                "logprobs": self._logprobs(one.generation.logprobs if one.generation else []),
            }
            | self._end(index, one)
            for index, one in enumerate(told)
        ]
        return self._head | {
            "object": "chat.completion",
            "choices": choices,
            "usage": usage(told, len(self.orders[0].prompt)),
        }

    async def stream(self, reply: Reply) -> AsyncIterator[str]:
        wanted = self._body.stream_options or StreamOptions()
        head, n_prompt = self._head | {"object": "chat.completion.chunk"}, len(self.orders[0].prompt)

        def part(choice: dict[str, Any]) -> str:
            return event(head | {"choices": [choice]} | running_usage(wanted, reply.told, n_prompt))

        for index in range(len(self.orders)):
            yield part(self._choice(index, {"role": "assistant", "content": "", "refusal": None}))
        async for index, happened in reply.events():
            for choice in self._choices(index, happened):
                yield part(choice)
            if isinstance(happened, Done):
                yield part(self._choice(index, {}) | self._end(index, reply.told[index]))
        if wanted.include_usage:
            yield event(head | {"choices": [], "usage": usage(reply.told, n_prompt)})
        yield event("[DONE]")

    def _check(self, body: ChatRequest) -> None:
        if body.top_logprobs is not None and not body.logprobs:
            raise refused("top_logprobs", "set logprobs beside it, or leave it out", "invalid_value")
        check_stream_options(body)

    def _message(self, index: int, text: str) -> dict[str, Any]:
        return {"content": text} if self._tools is None else self._tools.message(index, text)

    def _choices(self, index: int, happened: Event) -> list[dict[str, Any]]:
        """Parts of a stream: what a step brought of a text, or what was held back at its end."""
        told = happened.logprobs if isinstance(happened, Delta) else ()
        text = happened.text if isinstance(happened, Delta) else ""
        if self._tools is None:
            return [self._choice(index, {"content": text}, told)] if text or told else []
        ends = isinstance(happened, Done)
        deltas = self._tools.finished(index) if ends else self._tools.pushed(index, text)
        if told and not deltas:
            deltas = [{}]
        return [self._choice(index, delta, () if place else told) for place, delta in enumerate(deltas)]

    def _choice(self, index: int, delta: dict[str, Any], told: Sequence[TokenLogprobs] = ()) -> dict[str, Any]:
        logprobs = self._logprobs(told) if told else None
        return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": None}

    def _logprobs(self, told: Sequence[TokenLogprobs]) -> dict[str, Any] | None:
        if not self._body.logprobs:
            return None
        content = chat_logprobs(self._service.tokens, told, self._body.top_logprobs or 0)
        return {"content": content, "refusal": None}

    def _end(self, index: int, told: Told) -> dict[str, Any]:
        generation = told.generation
        reason = told.finish_reason if self._tools is None else self._tools.finish_reason(index, told)
        return {"finish_reason": reason, "stop_reason": generation and generation.stop_reason}
