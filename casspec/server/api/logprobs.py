"""Probabilities of tokens, as each endpoint writes them: of the model's own distribution, whatever it was sampled with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from casspec.runtime.text.logprobs import TokenLogprobs
from casspec.server.tokens import Tokens

LEAST = -9999.0
"""What stands for a token that cannot come: JSON has no infinity."""


def chat_logprobs(tokens: Tokens, told: Sequence[TokenLogprobs], count: int) -> list[dict[str, Any]]:
    """Entries of `logprobs.content`, one a token, each with `count` likeliest ones."""
    return [
        _entry(tokens, one.token, one.raw_logprob)
        | {"top_logprobs": [_entry(tokens, *pair) for pair in one.raw_top[:count]]}
        for one in told
    ]


def _entry(tokens: Tokens, token: int, logprob: float) -> dict[str, Any]:
    return {"token": tokens.text_of(token), "logprob": max(logprob, LEAST), "bytes": list(tokens.bytes_of(token))}


class CompletionLogprobs:
    """`logprobs` of completions, whose offsets count on from one part of a stream to the next.

    Args:
        count: likeliest tokens at a place; the emitted one stands among them.
    """

    def __init__(self, tokens: Tokens, count: int) -> None:
        self._tokens, self._count, self._offset = tokens, count, 0

    def first(self, token: int) -> dict[str, Any]:
        """Of the first token of a prompt, which is after nothing."""
        written = self._empty()
        self._add(written, token, None, None)
        return written

    def of(self, told: Sequence[TokenLogprobs], onto: dict[str, Any] | None = None) -> dict[str, Any]:
        """Of further tokens, behind those of `onto` where it is given."""
        written = self._empty() if onto is None else onto
        for one in told:
            top = {self._tokens.text_of(token): max(value, LEAST) for token, value in one.raw_top[: self._count]}
            value = max(one.raw_logprob, LEAST)
            self._add(written, one.token, value, top | {self._tokens.text_of(one.token): value})
        return written

    def _add(self, written: dict[str, Any], token: int, value: float | None, top: dict[str, float] | None) -> None:
        text = self._tokens.text_of(token)
        written["tokens"].append(text)
        written["token_logprobs"].append(value)
        written["top_logprobs"].append(top)
        written["text_offset"].append(self._offset)
        self._offset += len(text)

    def _empty(self) -> dict[str, Any]:
        return {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
