"""Probabilities are written as each endpoint has them."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

from casspec.runtime.text.logprobs import TokenLogprobs
from casspec.server.api.logprobs import LEAST, CompletionLogprobs, chat_logprobs

TOKENS: Any = SimpleNamespace(text_of=lambda token: "abc"[token] * 2, bytes_of=lambda token: (97 + token,) * 2)


def told(token: int, logprob: float) -> TokenLogprobs:
    return TokenLogprobs(token, -9.0, logprob, [(2, -9.0)], [(0, -0.1), (1, -2.0)])


def test_chats_have_an_entry_a_token() -> None:
    (entry,) = chat_logprobs(TOKENS, [told(1, -2.0)], 1)
    assert entry == {
        "token": "bb",
        "logprob": -2.0,
        "bytes": [98, 98],
        "top_logprobs": [{"token": "aa", "logprob": -0.1, "bytes": [97, 97]}],
    }


def test_completions_have_lists_whose_offsets_go_on() -> None:
    writer = CompletionLogprobs(TOKENS, 1)
    first = writer.of([told(1, -2.0)], writer.first(0))
    assert first == {
        "tokens": ["aa", "bb"],
        "token_logprobs": [None, -2.0],
        "top_logprobs": [None, {"aa": -0.1, "bb": -2.0}],
        "text_offset": [0, 2],
    }
    assert writer.of([told(2, -math.inf)])["text_offset"] == [4]


def test_a_token_that_cannot_come_has_a_number_too() -> None:
    assert CompletionLogprobs(TOKENS, 0).of([told(2, -math.inf)])["token_logprobs"] == [LEAST]
