"""Text from tokens as they come.

A character can be spread over several tokens, and some tokenizers write a token differently at the start of a text than inside
it. So tokens are decoded together with a few before them, and the end of the text waits while it is an unfinished character.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import groupby
from typing import Any

REPLACEMENT = "\ufffd"
"""What a tokenizer writes for bytes that are no whole character, yet or ever."""

CONTEXT_TOKENS = 8
LONGEST_WAIT_CHARACTERS = 12
"""Bytes that have not become a character by then never will."""


class TextStream:
    """Decodes a growing list of tokens.

    Args:
        tokenizer: of the library.
        prompt: tokens the text goes on from; they are context only.
        shown: special tokens that are part of the text.
    """

    def __init__(self, tokenizer: Any, prompt: list[int], shown: Collection[int] = ()) -> None:
        self._tokenizer, self._special = tokenizer, frozenset(shown)
        self._tokens: list[int] = []
        self._shown = 0
        self._start_over(prompt)

    def push(self, tokens: list[int]) -> str:
        """The text that `tokens` complete, "" while a character is unfinished."""
        self._tokens += tokens
        text = self._decode()
        whole = _without_unfinished(text)
        fresh = whole[self._shown :]
        self._shown = max(self._shown, len(whole))
        if whole == text and len(self._tokens) > 2 * CONTEXT_TOKENS:
            self._start_over(self._tokens)
        return fresh

    def finish(self) -> str:
        """What is left, with replacement characters for bytes that never became a character."""
        return self._decode()[self._shown :]

    def _start_over(self, tokens: list[int]) -> None:
        self._tokens = tokens[-CONTEXT_TOKENS:]
        self._shown = len(_without_unfinished(self._decode()))

    def _decode(self) -> str:
        if self._special.isdisjoint(self._tokens):
            return decoded(self._tokenizer, self._tokens, clean_up_tokenization_spaces=False)
        runs = groupby(self._tokens, self._special.__contains__)
        return "".join(self._shown_run(list(run)) if shown else self._plain_run(list(run)) for shown, run in runs)

    def _shown_run(self, tokens: list[int]) -> str:
        return "".join(map(str, self._tokenizer.convert_ids_to_tokens(tokens)))

    def _plain_run(self, tokens: list[int]) -> str:
        return decoded(self._tokenizer, tokens, clean_up_tokenization_spaces=False)


def decoded(tokenizer: Any, tokens: Sequence[int], **settings: Any) -> str:
    """The text of tokens, special ones left out.

    Weights often have a few more tokens than their tokenizer. These say nothing; some tokenizers fail at them.

    Args:
        settings: further ones of the tokenizer's `decode`.
    """
    try:
        return str(tokenizer.decode(tokens, skip_special_tokens=True, **settings))
    except (IndexError, KeyError, TypeError, ValueError):
        known = [token for token in tokens if token < len(tokenizer)]
        return str(tokenizer.decode(known, skip_special_tokens=True, **settings))


def _without_unfinished(text: str) -> str:
    whole = text.rstrip(REPLACEMENT)
    return whole if len(text) - len(whole) <= LONGEST_WAIT_CHARACTERS else text
