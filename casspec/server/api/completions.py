"""/v1/completions: texts that go on from prompts, as OpenAI's API has it."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator
from typing import Annotated, Any

from pydantic import Field

from casspec.server.api.answering import event
from casspec.server.api.fields import MOST_LOGPROBS, MOST_TEXTS, SampledFields, StreamOptions, TokenId
from casspec.server.api.formats import Format, Written, format_options
from casspec.server.api.logprobs import CompletionLogprobs
from casspec.server.api.options import check_model, check_stream_options, method_of, sampled_options
from casspec.server.api.usage import running_usage, usage
from casspec.server.errors import refused
from casspec.server.replies import Reply, Told
from casspec.server.service import Service
from casspec.server.step_thread import Delta, Done, Order, Scored

MOST_TOKENS = 16
"""Of a text where neither request nor model say, as in OpenAI's API."""

Ids = Annotated[list[TokenId], Field(min_length=1)]
Prompt = str | Ids | Annotated[list[str], Field(min_length=1)] | Annotated[list[Ids], Field(min_length=1)]


class CompletionRequest(SampledFields):
    """`best_of` is honoured where it is `n`: all texts are told then."""

    prompt: Prompt
    echo: bool | None = None
    logprobs: int | None = Field(None, ge=0, le=MOST_LOGPROBS)
    best_of: int | None = None
    suffix: str | None = None
    response_format: Format | None = None
    grammar: Written | None = None
    add_special_tokens: bool = True


class Completion:
    """A call of the endpoint. Raises ApiError for what is refused."""

    def __init__(self, service: Service, body: CompletionRequest) -> None:
        check_model(service, body.model)
        self._service, self._body = service, body
        self.streams, self.fields = bool(body.stream), list(CompletionRequest.model_fields)
        self._n = body.n or 1
        self._writers: dict[int, CompletionLogprobs] = {}
        self._check(body)
        self._prompts = _token_prompts(service, body)
        if len(self._prompts) * self._n > MOST_TEXTS:
            raise refused("n", f"a request has at most {MOST_TEXTS} texts, n times its prompts", "invalid_value")
        options = sampled_options(service, body, MOST_TOKENS)
        options |= format_options(service, body.response_format, "response_format", body.grammar)
        options["logprobs"] = body.logprobs
        scored = body.logprobs if body.echo else None
        method, generates = method_of(body), options["max_new_tokens"] > 0
        self.orders = [
            Order(prompt, options, sequence, method, scored, generates)
            for prompt in self._prompts
            for sequence in range(self._n)
        ]
        self.given = [{"prompt": one} for one in _each(body.prompt)]
        self.options = body.model_dump(exclude_none=True)
        self._n_prompt = sum(map(len, self._prompts))
        self._head = {
            "id": f"cmpl-{uuid.uuid4().hex}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": body.model,
        }

    def whole(self, told: list[Told]) -> dict[str, Any]:
        choices = []
        for index, one in enumerate(told):
            echo, logprobs = self._opened(index, one)
            if self._body.logprobs is not None and one.generation is not None:
                logprobs = self._writer(index).of(one.generation.logprobs, logprobs)
            choices.append(self._choice(index, echo + one.text, logprobs, one))
        return self._head | {"choices": choices, "usage": usage(told, self._n_prompt)}

    async def stream(self, reply: Reply) -> AsyncIterator[str]:
        body, opened, wanted = self._body, set[int](), self._body.stream_options or StreamOptions()

        def part(choice: dict[str, Any]) -> str:
            return event(self._head | {"choices": [choice]} | running_usage(wanted, reply.told, self._n_prompt))

        async for index, happened in reply.events():
            echo, logprobs = "", None
            if index not in opened and body.echo and (isinstance(happened, Scored) or body.logprobs is None):
                opened.add(index)
                echo, logprobs = self._opened(index, reply.told[index])
            if isinstance(happened, Delta):
                if body.logprobs is not None:
                    logprobs = self._writer(index).of(happened.logprobs, logprobs)
                yield part(self._choice(index, echo + happened.text, logprobs))
            elif isinstance(happened, Done):
                yield part(self._choice(index, echo, logprobs, reply.told[index]))
            elif echo:
                yield part(self._choice(index, echo, logprobs))
        if wanted.include_usage:
            yield event(self._head | {"choices": [], "usage": usage(reply.told, self._n_prompt)})
        yield event("[DONE]")

    def _check(self, body: CompletionRequest) -> None:
        if body.suffix is not None:
            raise refused("suffix", "no text can be put before another; leave it out")
        if body.best_of not in (None, self._n):
            raise refused("best_of", f"all texts are told, n = {self._n} of them; leave it out")
        check_stream_options(body)

    def _opened(self, index: int, told: Told) -> tuple[str, dict[str, Any] | None]:
        """What stands before a text: its prompt where it is to be echoed, with its probabilities."""
        body, prompt = self._body, told.order.prompt
        if not body.echo:
            return "", None
        one = _each(body.prompt)[index // self._n]
        echo = one if isinstance(one, str) else self._service.tokens.decoded(prompt)
        if body.logprobs is None:
            return echo, None
        writer = self._writer(index)
        return echo, writer.of(told.scores, writer.first(prompt[0]))

    def _writer(self, index: int) -> CompletionLogprobs:
        if index not in self._writers:
            self._writers[index] = CompletionLogprobs(self._service.tokens, self._body.logprobs or 0)
        return self._writers[index]

    def _choice(
        self, index: int, text: str, logprobs: dict[str, Any] | None, told: Told | None = None
    ) -> dict[str, Any]:
        generation = told and told.generation
        return {
            "index": index,
            "text": text,
            "logprobs": logprobs,
            "finish_reason": told and told.finish_reason,
            "stop_reason": generation and generation.stop_reason,
        }


def _each(prompt: Any) -> list[str | list[int]]:
    """The prompts of a request, each a text or token ids."""
    return [prompt] if isinstance(prompt, str) or isinstance(prompt[0], int) else list(prompt)


def _token_prompts(service: Service, body: CompletionRequest) -> list[list[int]]:
    """Token ids of all prompts."""
    found = [
        _encoded(service, one, body.add_special_tokens) if isinstance(one, str) else list(one)
        for one in _each(body.prompt)
    ]
    for ids in found:
        if not ids:
            raise refused("prompt", "holds no token", "invalid_value")
        service.tokens.check(ids, "prompt")
    return found


def _encoded(service: Service, text: str, special: bool) -> list[int]:
    return service.tokens.prompt(text) if special else service.tokens.encoded(text, special=False)
