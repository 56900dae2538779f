"""/v1/chat/completions: the next message of a conversation, as OpenAI's API has it."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal

from pydantic import Field

from casspec.runtime.text.logprobs import TokenLogprobs
from casspec.server.api.answering import event
from casspec.server.api.extensions import Format, Tool, ToolChoice, format_options, template_tools
from casspec.server.api.fields import MOST_LOGPROBS, Count, SampledFields
from casspec.server.api.logprobs import chat_logprobs
from casspec.server.api.messages import Message, for_template
from casspec.server.api.options import check_model, method_of, sampled_options
from casspec.server.api.usage import usage
from casspec.server.errors import refused
from casspec.server.replies import Reply, Told
from casspec.server.service import Service
from casspec.server.step_thread import Delta, Done, Order


class ChatRequest(SampledFields):
    """`store`, `modalities` and `service_tier` are honoured where they ask for what is done anyway."""

    messages: list[Message]
    max_completion_tokens: Count | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=MOST_LOGPROBS)
    response_format: Format | None = None
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
        arguments = template_tools(body.tools, body.tool_choice, body.parallel_tool_calls)
        prompt = service.tokens.conversation(for_template(body.messages), arguments | (body.chat_template_kwargs or {}))
        asked = body.max_completion_tokens if body.max_tokens is None else body.max_tokens
        body = body.model_copy(update={"max_tokens": asked})
        options = sampled_options(service, body, service.settings.chat_tokens)
        options |= format_options(body.response_format, "response_format")
        options["logprobs"] = (body.top_logprobs or 0) if body.logprobs else None
        method = method_of(body)
        self.orders = [Order(prompt, options, sequence, method) for sequence in range(body.n or 1)]
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
                "message": {"role": "assistant", "content": one.text, "refusal": None},
                "logprobs": self._logprobs(one.generation.logprobs if one.generation else []),
            }
            | self._end(one)
            for index, one in enumerate(told)
        ]
        return self._head | {"object": "chat.completion", "choices": choices, "usage": self._usage(told)}

    async def stream(self, reply: Reply) -> AsyncIterator[str]:
        body = self._body
        include = body.stream_options is not None and body.stream_options.include_usage
        head = self._head | {"object": "chat.completion.chunk"}
        rest: dict[str, Any] = {"usage": None} if include else {}
        for index in range(len(self.orders)):
            opening = self._choice(index, {"role": "assistant", "content": "", "refusal": None})
            yield event(head | {"choices": [opening]} | rest)
        async for index, happened in reply.events():
            if isinstance(happened, Delta) and (happened.text or happened.logprobs):
                choice = self._choice(index, {"content": happened.text}, happened.logprobs)
                yield event(head | {"choices": [choice]} | rest)
            elif isinstance(happened, Done):
                choice = self._choice(index, {}) | self._end(reply.told[index])
                yield event(head | {"choices": [choice]} | rest)
        if include:
            yield event(head | {"choices": [], "usage": self._usage(reply.told)})
        yield event("[DONE]")

    def _check(self, body: ChatRequest) -> None:
        if body.max_tokens is not None and body.max_completion_tokens not in (None, body.max_tokens):
            raise refused(
                "max_tokens", "max_completion_tokens is another number; leave one of both out", "invalid_value"
            )
        if body.top_logprobs is not None and not body.logprobs:
            raise refused("top_logprobs", "set logprobs beside it, or leave it out", "invalid_value")
        if body.stream_options is not None and not body.stream:
            raise refused("stream_options", "the answer is no stream; set stream", "invalid_value")

    def _choice(self, index: int, delta: dict[str, Any], told: Sequence[TokenLogprobs] = ()) -> dict[str, Any]:
        logprobs = self._logprobs(told) if told else None
        return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": None}

    def _logprobs(self, told: Sequence[TokenLogprobs]) -> dict[str, Any] | None:
        if not self._body.logprobs:
            return None
        content = chat_logprobs(self._service.tokens, told, self._body.top_logprobs or 0)
        return {"content": content, "refusal": None}

    def _end(self, told: Told) -> dict[str, Any]:
        generation = told.generation
        return {"finish_reason": told.finish_reason, "stop_reason": generation and generation.stop_reason}

    def _usage(self, told: list[Told]) -> dict[str, Any]:
        return usage(told, len(self.orders[0].prompt))
