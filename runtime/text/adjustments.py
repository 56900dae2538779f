"""What the text so far does to the logits of its next token, before anything is sampled: biases, penalties, tokens that may not come.

In the library's order: bias of single tokens, repetition penalty (CTRL, arXiv 1909.05858, section 4.1), then frequency and presence
penalty, then tokens left out (bad words, ends before the least length, suppressed ones). A penalty looks at all of the text, the other
two at what was emitted.

The text is that of a sequence, which only grows (`TextAdjustments.advance`), and for a node of a tree the tokens on the way to it. So one
call serves the node a walk stands at, or all nodes of a tree at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from casspec.runtime.model.transfers import to_device
from casspec.storage.errors import UnsupportedOption

LEAST_BIAS, MOST_BIAS = -1e4, 1e4
"""Of a logit: far beyond what a model says, far within what float32 adds without loss of order."""


@dataclass(frozen=True)
class Adjustments:
    """What a request asks of the logits. The defaults leave them as they are.

    Raises UnsupportedOption for a value out of range.
    """

    logit_bias: Mapping[int, float] = field(default_factory=dict)
    """Added to the logit of each token."""
    repetition_penalty: float = 1.0
    """Of tokens of the text, prompt included: positive logits are divided by it, negative ones multiplied."""
    frequency_penalty: float = 0.0
    """Taken off a token's logit for every time it was emitted."""
    presence_penalty: float = 0.0
    """Taken off once if it was emitted."""
    bad_words: Sequence[Sequence[int]] = ()
    """Runs of tokens that may not be completed."""
    min_new_tokens: int = 0
    """Tokens before which none of the request's ends may come."""
    suppress_tokens: Sequence[int] = ()
    """Tokens that may not come at all."""

    def __post_init__(self) -> None:
        if not 1 / MOST_BIAS <= self.repetition_penalty <= MOST_BIAS:
            raise UnsupportedOption(
                f"repetition_penalty must be positive, from {1 / MOST_BIAS:g} to {MOST_BIAS:g}, not {self.repetition_penalty}"
            )
        for name in ("frequency_penalty", "presence_penalty"):
            if not LEAST_BIAS <= getattr(self, name) <= MOST_BIAS:
                raise UnsupportedOption(
                    f"{name} must be a finite number in [{LEAST_BIAS:g}, {MOST_BIAS:g}], not {getattr(self, name)}"
                )
        if self.min_new_tokens < 0:
            raise UnsupportedOption(f"min_new_tokens must not be negative, got {self.min_new_tokens}")
        for token, bias in self.logit_bias.items():
            if not LEAST_BIAS <= bias <= MOST_BIAS:
                raise UnsupportedOption(
                    f"logit_bias of token {token} must lie in [{LEAST_BIAS:g}, {MOST_BIAS:g}], not {bias}"
                )
        if not all(self.bad_words):
            raise UnsupportedOption("bad_words holds an empty run of tokens; leave it out")

    def __bool__(self) -> bool:
        """Whether they do anything."""
        return self != Adjustments()

    @property
    def tokens(self) -> list[int]:
        """All token ids they name."""
        return [*self.logit_bias, *self.suppress_tokens, *(token for word in self.bad_words for token in word)]


class TextAdjustments:
    """Adjustments of one text as it grows.

    Args:
        prompt: what the text begins with. ends: tokens that end it.
    """

    def __init__(
        self, asked: Adjustments, prompt: Sequence[int], ends: Sequence[int], vocab_size: int, device: torch.device
    ) -> None:
        self._asked, self._text, self._n_prompt = asked, list(prompt), len(prompt)
        self._counted = bool(asked.frequency_penalty or asked.presence_penalty)
        self._penalises = asked.repetition_penalty != 1 or self._counted
        self._device, self._ends = device, list(ends)
        self._emitted: dict[int, int] = {}
        self._places: dict[int, int] = {}
        # Of tokens in the text, in the order of their first time: id, how often emitted.
        self._ids = torch.zeros(vocab_size, dtype=torch.int64, device=device)
        self._counts = torch.zeros(vocab_size, device=device)
        biases = list(asked.logit_bias.values())
        self._bias = to_device(list(asked.logit_bias), device), to_device(biases, device, torch.float32)
        banned = [*asked.suppress_tokens, *(word[0] for word in asked.bad_words if len(word) == 1)]
        self._banned = to_device(banned, device)
        self._words = [tuple(word) for word in asked.bad_words if len(word) > 1]
        if self._penalises:
            known = list(dict.fromkeys(prompt)) if asked.repetition_penalty != 1 else []
            self._places = {token: place for place, token in enumerate(known)}
            self._ids[: len(known)] = to_device(known, device)

    def advance(self, tokens: Sequence[int]) -> None:
        """`tokens` were emitted."""
        self._text += tokens
        if not self._penalises:
            return
        for token in tokens:
            self._emitted[token] = self._emitted.get(token, 0) + 1
            place = self._places.get(token)
            if place is None:
                place = self._places[token] = len(self._places)
                self._ids[place : place + 1].fill_(token)  # a number put at one index would be copied
            if self._counted:
                self._counts[place] += 1

    def adjusted(self, logits: Tensor, suffixes: Sequence[Sequence[int]]) -> Tensor:
        """Logits [rows, vocab] as they are after the text and each row's own suffix, in float32 memory of their own."""
        scores = logits.to(torch.float32, copy=True)
        ids, bias = self._bias
        if len(ids):
            scores[:, ids] += bias
        if self._penalises:
            self._penalise(scores, suffixes)
        if len(self._banned):
            scores.index_fill_(1, self._banned, -torch.inf)
        rows, tokens = self._banned_after(suffixes)
        if rows:
            scores.index_put_(self._indices(rows, tokens), scores.new_full((), -torch.inf))
        return scores

    def rescored(self, ids: Tensor, logits: Tensor, suffixes: Sequence[Sequence[int]]) -> Tensor:
        """What penalties and biases make of single logits [rows, n] of tokens `ids` [rows, n]: float32 [rows, n]."""
        found = logits.to(torch.float32, copy=True)
        for row, (tokens, suffix) in enumerate(zip(ids.tolist(), suffixes, strict=True)):
            for place, token in enumerate(tokens):
                bias = self._asked.logit_bias.get(token)
                if bias is not None:
                    found[row, place] += bias
                if self._penalises and (token in self._places or token in suffix):
                    count = self._emitted.get(token, 0) + suffix.count(token)
                    found[row, place] = self._penalised(found[row, place], torch.tensor(float(count)))
        return found

    def _penalise(self, scores: Tensor, suffixes: Sequence[Sequence[int]]) -> None:
        own = [(row, token) for row, suffix in enumerate(suffixes) for token in dict.fromkeys(suffix)]
        places = self._indices([row for row, _ in own], [token for _, token in own])
        before = scores[places] if own else None
        n = len(self._places)
        ids = self._ids[:n]
        if n:
            scores[:, ids] = self._penalised(scores[:, ids], self._counts[:n])
        if before is not None:
            counts = [self._emitted.get(token, 0) + suffixes[row].count(token) for row, token in own]
            scores[places] = self._penalised(before, to_device(counts, self._device, torch.float32))

    def _indices(self, rows: Sequence[int], tokens: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Of single scores, on their device."""
        both = to_device([*rows, *tokens], self._device)
        return both[: len(rows)], both[len(rows) :]

    def _penalised(self, values: Tensor, counts: Tensor) -> Tensor:
        """Logits of tokens of the text, for how often each was emitted."""
        asked = self._asked
        if asked.repetition_penalty != 1:
            values = torch.where(values < 0, values * asked.repetition_penalty, values / asked.repetition_penalty)
        if self._counted:
            values = values - (counts * asked.frequency_penalty + (counts > 0) * asked.presence_penalty)
        return values

    def _banned_after(self, suffixes: Sequence[Sequence[int]]) -> tuple[list[int], list[int]]:
        """(rows, tokens) that may not come because of what stands before."""
        rows: list[int] = []
        tokens: list[int] = []
        emitted = len(self._text) - self._n_prompt
        for row, suffix in enumerate(suffixes):
            banned = self._ends if emitted + len(suffix) < self._asked.min_new_tokens else []
            longest = max(map(len, self._words), default=1) - 1
            recent = (*self._text[-longest:], *suffix)[-longest:] if self._words else ()
            completed = [word[-1] for word in self._words if recent[-len(word) + 1 :] == word[:-1]]
            rows += [row] * (len(banned) + len(completed))
            tokens += [*banned, *completed]
        return rows, tokens
