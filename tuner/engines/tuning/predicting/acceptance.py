"""Replays n-gram lookup on what an engine wrote, with the engine's own semantics and without the engine.

Greedy text does not depend on drafts, so that what lookup would have drafted anywhere in it, and how much of that would have been
accepted, is known from the text alone. There are two kinds of lookup:

* As vLLM's proposer has it (`vllm/v1/spec_decode/ngram_proposer.py`, 0.33): of the n-grams that end the text the longest within bounds that
  occurred before, its earliest occurrence, and what followed there up to the end of the text. TensorRT-LLM's pool of n-grams, where each
  request has its own and the oldest match is used, drafts the same but near the end of a text.
* As llama.cpp's `ngram-simple` has it (`common/ngram-map.cpp`, b11434): n-grams of one length, the last occurrence, not at the first place
  of the text and not so that it ends with the last token but one or later. A draft that would be shorter than the n-gram is not made, nor
  any before the text has more tokens than n-gram and draft together and two. The server then shortens a draft to what the request may
  still be answered but one token, which the verification itself brings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from casspec.storage.engines.documents import EngineText


@dataclass(frozen=True)
class Replayed:
    """What a setting does to texts. A verification is a step of one text after its first token.

    Attributes:
        drafted: verifications that had a draft. by_position: accepted drafted tokens at each place of a draft.
    """

    verifications: int
    drafted: int
    draft_tokens: int
    accepted_tokens: int
    by_position: tuple[int, ...] = ()

    @property
    def acceptance_length(self) -> float:
        """Tokens a verification, over all verifications."""
        return 1.0 + self.accepted_tokens / max(self.verifications, 1)


@dataclass(frozen=True)
class _Place:
    """Where the text stands: what lookup would find for each length of n-gram (0 where it finds none).

    Attributes:
        length: of the text so far. room: tokens that a draft may have, however many would follow.
    """

    length: int
    room: int
    available: tuple[int, ...]
    """Tokens that followed the match."""
    right: tuple[int, ...]
    """Of these, as many as the text goes on with."""


class LookupReplay:
    """Texts with all that n-grams of up to `longest` tokens find in them.

    Args:
        most_drafted: tokens of the longest draft that is asked about. takes_last: lookup of the second kind.
        most_new: tokens that answers were asked for at most; None where that shortens no draft.
    """

    def __init__(
        self,
        texts: Sequence[EngineText],
        longest: int,
        most_drafted: int,
        takes_last: bool = False,
        most_new: int | None = None,
    ) -> None:
        self._most, self._takes_last = most_drafted, takes_last
        self._texts = [_places(text, longest, most_drafted, takes_last, most_new) for text in texts]

    def replay(self, shortest: int, longest: int, draft_tokens: int) -> Replayed:
        """N-grams of these lengths, and at most so many tokens drafted; of the second kind `longest` is the one length."""
        if draft_tokens > self._most:
            raise ValueError(f"places know {self._most} tokens ahead, not {draft_tokens}")
        verifications = drafted = drafts = accepted = 0
        by_position = [0] * draft_tokens
        for places in self._texts:
            position = 0
            while position < len(places):
                place = places[position]
                length = self._matched(place, shortest, longest, draft_tokens)
                available = min(place.available[length], draft_tokens, place.room) if length else 0
                right = min(place.right[length], available) if length else 0
                verifications += 1
                drafted += available > 0
                drafts += available
                accepted += right
                for ahead in range(right):
                    by_position[ahead] += 1
                position += right + 1
        return Replayed(verifications, drafted, drafts, accepted, tuple(by_position))

    def _matched(self, place: _Place, shortest: int, longest: int, draft_tokens: int) -> int:
        """Length of the n-gram whose match is copied; 0 for none."""
        if not self._takes_last:
            return next((n for n in range(longest, shortest - 1, -1) if place.available[n]), 0)
        is_long = place.length > longest + draft_tokens + 2
        return longest if is_long and min(place.available[longest], draft_tokens) >= longest else 0


def _places(text: EngineText, longest: int, most: int, takes_last: bool, most_new: int | None) -> list[_Place]:
    """One for each step that decoding token by token would take: after the first new token and each later one but the last."""
    tokens = [*text.prompt, *text.answer]
    first = len(text.prompt) + 1
    ends: list[dict[tuple[int, ...], int]] = [{} for _ in range(longest + 1)]
    found = []
    for length in range(1, len(tokens)):
        if length >= first:
            left = most if most_new is None else max(most_new - (length - len(text.prompt)) - 1, 0)
            found.append(_place(tokens, length, ends, longest, most, int(takes_last), left))
        for n in range(1, min(longest, length) + 1):
            if not takes_last:
                ends[n].setdefault(tuple(tokens[length - n : length]), length)
            elif n < length - 1:
                ends[n][tuple(tokens[length - 1 - n : length - 1])] = length - 1
    return found


def _place(
    tokens: list[int],
    length: int,
    ends: list[dict[tuple[int, ...], int]],
    longest: int,
    most: int,
    kept: int,
    room: int,
) -> _Place:
    """`length`: of the text so far. `ends`: by n-gram, how long the text was where it ended with it. `kept`: last tokens, not copied."""
    available, right = [0] * (longest + 1), [0] * (longest + 1)
    for n in range(1, min(longest, length) + 1):
        end = ends[n].get(tuple(tokens[length - n : length]))
        if end is None:
            break  # no longer one ends the text either
        available[n] = min(length - kept - end, most)
        count = 0
        while count < available[n] and length + count < len(tokens) and tokens[end + count] == tokens[length + count]:
            count += 1
        right[n] = count
    return _Place(length, room, tuple(available), tuple(right))
