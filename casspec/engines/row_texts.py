"""Which text each row of an engine's batch is.

The engine tells neither requests nor their end: only what the rows hold. A row that goes on from what was known of it is the same
text. Rows move and requests are preempted, so a row that does not is looked for among the texts that no row holds any more; else a
text begins. What a text emitted goes to the memory when no row holds it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from casspec.runtime.drafters.chain_trials import ChainAcceptance, ChainTrial
from casspec.runtime.drafters.text_chains import IndexedText, TextMemory

MOST_LEFT_TEXTS = 64
ROOM = 256
"""Tokens that a text may grow by before its index is made anew."""


class RowText:
    """A text, what is known of its suffixes, and how well it was copied.

    Attributes:
        continued: whether the last call brought just the tokens that the call before was missing.
        drafted: tokens that were drafted for it in the last call.
    """

    def __init__(self, tokens: np.ndarray, n_sampled: int, acceptance: ChainAcceptance) -> None:
        self.text = IndexedText(len(tokens) + ROOM)
        self.text.extend(tokens)
        self.trial = ChainTrial(acceptance)
        self.continued = False
        self.drafted = 0
        self._output_begin = len(tokens) - n_sampled

    def begins(self, row: np.ndarray, length: int) -> bool:
        """Whether `row[:length]` begins with it."""
        known = self.text.tokens
        return len(known) <= length and bool((row[: len(known)] == known).all())

    def follow(self, row: np.ndarray, n_tokens: int, sampled: Sequence[int], memory: TextMemory) -> None:
        """Takes the tokens that came, `sampled` the last of them."""
        known = len(self.text)
        self.continued = known == n_tokens - len(sampled)
        if self.continued:
            self.trial.score(sampled)
        else:
            self.leave(memory)
            self.trial.close()
            self._output_begin = n_tokens - len(sampled)
        self.text.extend(row[known:n_tokens])

    def leave(self, memory: TextMemory) -> None:
        """Gives the memory what it emitted since it last did."""
        memory.add(self.text.tokens[self._output_begin :].copy())
        self._output_begin = len(self.text)


class RowTexts:
    """The texts of all rows, and those that left lately.

    Args:
        left_tokens: bound on the tokens of texts that no row holds.
    """

    def __init__(self, acceptance: ChainAcceptance, memory: TextMemory, left_tokens: int) -> None:
        self._acceptance = acceptance
        self._memory = memory
        self._left_tokens = left_tokens
        self._rows: list[RowText | None] = []
        self._left: list[RowText] = []

    def follow(self, sampled: Sequence[Sequence[int]], n_tokens: np.ndarray, rows: np.ndarray) -> list[RowText | None]:
        """The text of each row; None of one that sampled nothing.

        Args:
            sampled: tokens that each row has just got, the last of its own.
            n_tokens: [rows or more] tokens of each. rows: [rows or more, context] int32.
        """
        found: list[RowText | None] = [None] * len(sampled)
        new = []
        for i, tokens in enumerate(sampled):
            if not tokens:
                continue
            known = self._rows[i] if i < len(self._rows) else None
            if known is not None and known.begins(rows[i], int(n_tokens[i]) - len(tokens)):
                found[i] = known
            else:
                new.append(i)
        if new or len(found) != len(self._rows) or any(f is not k for f, k in zip(found, self._rows, strict=True)):
            self._settle(found, new, sampled, n_tokens, rows)
        for i, text in enumerate(found):
            if text is not None and i not in new:
                text.follow(rows[i], int(n_tokens[i]), sampled[i], self._memory)
        self._rows = found
        return found

    def _settle(
        self,
        found: list[RowText | None],
        new: list[int],
        sampled: Sequence[Sequence[int]],
        n_tokens: np.ndarray,
        rows: np.ndarray,
    ) -> None:
        """Finds the texts of rows that others held before; takes out of `new` the rows that are found; begins those that are not."""
        held = {id(text) for text in found if text is not None}
        moved = [text for text in self._rows if text is not None and id(text) not in held]
        by_length: dict[int, list[RowText]] = {}
        for text in [*self._left, *moved]:
            by_length.setdefault(len(text.text), []).append(text)
        for i in tuple(new):
            known = int(n_tokens[i]) - len(sampled[i])
            alike = by_length.get(known, [])
            same = next((each for each in reversed(alike) if each.begins(rows[i], known)), None)
            if same is None:
                found[i] = RowText(rows[i, : int(n_tokens[i])], len(sampled[i]), self._acceptance)
            else:
                alike.remove(same)
                found[i] = same
                new.remove(i)
        held = {id(text) for text in found if text is not None}
        for text in moved:
            if id(text) not in held:
                text.leave(self._memory)
        self._left = [text for text in [*self._left, *moved] if id(text) not in held]
        self._forget()

    def _forget(self) -> None:
        """Drops texts that left, the first ones first, down to the bounds."""
        kept, n_kept = [], 0
        for text in reversed(self._left[-MOST_LEFT_TEXTS:]):
            n_kept += len(text.text)
            if n_kept > self._left_tokens:
                break
            kept.append(text)
        self._left = kept[::-1]
