"""A text on its way through its grammar: what may follow it, and what follows each path of a tree below it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from casspec.runtime.model.transfers import is_host, to_device
from casspec.storage.errors import UnsupportedOption

if TYPE_CHECKING:
    from llguidance import LLMatcher

Path = tuple[int, ...]


class GrammarState:
    """Of one text. What stands behind the text is named by the tokens on the way to it, a suffix.

    Args:
        matcher: of the grammar, at the text's beginning; it becomes the state's own.
        no_end: the largest token that it knows of, which no text has.
        ends: tokens that end the text; they may come where it satisfies the grammar, and where they belong to it.

    All methods raise UnsupportedOption where the grammar has become too complex to follow.
    """

    def __init__(self, matcher: LLMatcher, no_end: int, ends: Collection[int], vocab_size: int) -> None:
        self._matcher, self._no_end = matcher, no_end
        self._behind: list[int] = []  # where the matcher stands, as a suffix
        self._ends, self._end_ids = frozenset(ends), np.array(sorted(ends), np.int64)
        self._vocab_size = vocab_size
        self._excluded: dict[Path, np.ndarray] = {}

    def allows(self, suffix: Sequence[int], token: int) -> bool:
        """Whether the token may follow."""
        return not self._excluded_after(suffix)[token]

    def mask(self, scores: Tensor, suffixes: Sequence[Sequence[int]]) -> None:
        """Takes what may not follow out of scores [rows, vocab], in place.

        Rows whose suffix left the grammar, or after which nothing can follow, stay as they are: no text comes there.
        """
        found = [self._excluded_after(suffix) for suffix in suffixes]
        if is_host(scores.device):
            for row, excluded in enumerate(found):
                if not excluded.all():
                    np.putmask(scores[row].numpy(), excluded, -np.inf)
        else:
            masks = np.stack(found)
            masks[masks.all(1)] = False
            scores[: len(masks)].masked_fill_(to_device(masks, scores.device), -torch.inf)

    def follows(self, suffix: Sequence[int]) -> bool:
        """Whether the text may go on with the suffix, its last token at most an end. Quick: no set of tokens is made."""
        if not suffix or suffix[-1] not in self._ends:
            return self._go(suffix)
        return self.goes_on(suffix[:-1], suffix[-1])

    def goes_on(self, suffix: Sequence[int], token: int) -> bool:
        """Whether the token may follow, as `allows`, but quick for a few tokens."""
        if not self._go(suffix):
            return False
        ends = token in self._ends and self._matcher.is_accepting()
        return ends or (self._is_known(token) and self._matcher.validate_tokens([token]) == 1)

    def forced(self, suffix: Sequence[int]) -> list[int]:
        """Tokens that the grammar goes on with, whatever the model says; [] where there is a choice."""
        if not self._go(suffix) or self._matcher.is_stopped():
            return []
        return list(takewhile(self._is_known, self._matcher.compute_ff_tokens()))

    def is_complete(self, suffix: Sequence[int]) -> bool:
        """Whether the text satisfies the grammar and nothing but an end can follow."""
        return self._go(suffix) and self._matcher.is_stopped()

    def advance(self, tokens: Sequence[int]) -> None:
        """`tokens` were emitted, the last of them at most an end."""
        after = tuple(tokens)
        known = self._excluded.get(after)
        self._excluded = {} if known is None else {(): known}
        self._go(after)
        self._behind = []

    def _excluded_after(self, suffix: Sequence[int]) -> np.ndarray:
        """bool [vocab]; all of them where the suffix left the grammar."""
        after = tuple(suffix)
        found = self._excluded.get(after)
        if found is None:
            found = self._excluded[after] = self._found(after)
        return found

    def _found(self, suffix: Path) -> np.ndarray:
        excluded = np.ones(self._vocab_size, bool)
        if not self._go(suffix):
            return excluded
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        self._check()
        read = np.unpackbits(bits, bitorder="little")[: min(self._no_end, self._vocab_size)].view(bool)
        np.logical_not(read, out=excluded[: len(read)])
        if self._matcher.is_accepting():
            excluded[self._end_ids] = False
        return excluded

    def _go(self, suffix: Sequence[int]) -> bool:
        """Takes the matcher to a suffix; False where it leaves the grammar on the way, or goes on after an end."""
        common, behind = 0, self._behind
        while common < min(len(behind), len(suffix)) and behind[common] == suffix[common]:
            common += 1
        if common < len(behind):
            self._matcher.rollback(len(behind) - common)
            del behind[common:]
        for token in suffix[common:]:
            if token in self._ends or not self._takes(token):
                return False
            behind.append(token)
        return True

    def _takes(self, token: int) -> bool:
        if not self._is_known(token) or self._matcher.is_stopped():
            return False
        taken = self._matcher.try_consume_tokens([token])
        self._check()
        return taken == 1

    def _is_known(self, token: int) -> bool:
        return token < min(self._no_end, self._vocab_size)

    def _check(self) -> None:
        if self._matcher.is_error():
            told = " ".join(self._matcher.get_error().split())[:200]
            raise UnsupportedOption(f"the grammar cannot be followed any further ({told}); ask for a simpler one")
