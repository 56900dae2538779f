"""Retrieval for a tree cascade: prompt lookup and token recycling joined at every leaf, with calibrated probabilities.

The longest n-gram that ends a leaf's path is looked up in the text. A match at text position p offers two things: the token that
followed there, and the target's own top successors recorded there. Where no more than the last token matches, or nothing does, its
recycled row says more than the one place. Rows keep logits, so they are perturbed with the noise of the position being drafted and
follow the target's sample.

What a candidate is worth comes from online cells keyed by match length, agreement with the literal continuation, and the gap
between its perturbed score and the best other one. Candidates under one leaf are disjoint events, so their estimates need no
correction for siblings. Every candidate offered under a visited node is scored, verified or not.

The work is done by the compiled functions of `retrieval_passes.py`, over arrays that this class keeps.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from casspec.runtime.decoding.acceptance import AcceptanceTable
from casspec.runtime.decoding.noise import NoiseRow
from casspec.runtime.decoding.successors import TOP_SUCCESSORS
from casspec.runtime.drafters.mean_recycling import MeanRecycling, enlarged
from casspec.runtime.drafters.retrieval_passes import (
    State,
    extend,
    index_text,
    match_of,
    match_of_root,
    offer_after,
)

Match = tuple[int, int]
"""(text position of the token that followed, length of the match); length 0 is no match."""

_START_TOKENS = 512


class Retrieval:
    """Candidates at any leaf.

    Args:
        table: acceptance cells, see `runtime/decoding/acceptance.py`.
        recycling: rows for tokens that match nothing, or alone.
        max_ngram: longest n-gram in the index; longer matches are measured by comparison.
        branch: candidates offered under one leaf.
        at_leaves: look a leaf's own suffix up; otherwise only the text that follows the root's match is offered below it.

    Attributes:
        state: for compiled functions, `RETRIEVAL` of `retrieval_passes.py`; `begin` and `extend` may make it another one.
    """

    def __init__(
        self, table: AcceptanceTable, recycling: MeanRecycling, max_ngram: int, branch: int, at_leaves: bool = True
    ) -> None:
        self.table = table
        self.max_ngram = max_ngram
        self.branch = branch
        self._recycling = recycling
        self._settings = np.array([max_ngram, branch, at_leaves], np.int64)
        self._sizes = np.zeros(2, np.int64)
        self._text, self._grams = np.empty(0, np.int64), np.zeros((1, 2), np.int64)
        self._row_ids, self._row_logits = (np.empty((0, TOP_SUCCESSORS), kind) for kind in (np.int64, np.float32))
        self._join()

    def reset(self) -> None:
        """Back to the profile's recycled rows and acceptance."""
        self._recycling.begin()
        self.table.reset()

    def begin(self, tokens: list[int], prompt_top: tuple[list[list[int]], list[list[float]]]) -> None:
        """A new text, with the target's successors after each of its committed tokens."""
        self._sizes[:] = 0
        self._grams[:, 0] = 0
        ids, logits = prompt_top
        shape = len(ids), len(ids[0]) if ids else 0
        self.extend(tokens, np.array(ids, np.int64).reshape(shape), np.array(logits, np.float32).reshape(shape))

    def extend(self, emitted: list[int], ids: np.ndarray, logits: np.ndarray) -> None:
        """Appends emitted tokens, and the target's successors (int64, float32) after the tokens before each of them."""
        self._make_room(len(emitted), max(emitted), *ids.shape)
        extend(self.state, np.array(emitted, np.int64), ids, logits)

    def root_match(self) -> Match:
        """The match of the text's own end, measured in full."""
        return match_of_root(self.state)

    def match(self, suffix: Sequence[int]) -> Match:
        """The match of a path that ends with `suffix` and left the text, looked up anew."""
        if not self._settings[2]:
            return 0, 0
        return match_of(self.state, np.array(suffix[::-1], np.int64)[: self.max_ngram])

    def offer(
        self, token: int, match: Match, noise: NoiseRow | None, inverse_temperature: float
    ) -> list[tuple[int, int]]:
        """(token, cell) of the candidates after a leaf that ends with `token`, at most `branch` and the literal one.

        `noise` is the Gumbel row [vocab] of the position being drafted, None when greedy.
        """
        offered = np.empty((max(self.branch, 1) + 1, 2), np.int64)
        key, position = (np.uint64(0), -1) if noise is None else (noise.key, noise.position)
        n: int = offer_after(self.state, token, *match, key, position, inverse_temperature, offered)
        return [(candidate, cell) for candidate, cell in offered[:n].tolist()]

    def _make_room(self, n_tokens: int, largest: int, n_rows: int, width: int) -> None:
        """For so much more. The index is made anew with the text: it is never more than half full."""
        n = int(self._sizes[0]) + n_tokens
        if n > len(self._text):
            room = max(n, _START_TOKENS)
            self._text = enlarged(self._text, room)
            self._row_ids, self._row_logits = enlarged(self._row_ids, room), enlarged(self._row_logits, room)
            places = 1 << (2 * len(self._text) * max(self.max_ngram, 1)).bit_length()
            self._grams = np.zeros((places, 2), np.int64)
            index_text(self._text, self._grams, 0, int(self._sizes[0]), self.max_ngram)
            self._join()
        self._recycling.make_room(n_rows, max(largest, int(self._text[int(self._sizes[0]) - 1])), width)
        if self._recycling.state is not self.state[6]:
            self._join()

    def _join(self) -> None:
        text = self._sizes, self._settings, self._text, self._grams, self._row_ids, self._row_logits
        self.state: State = (*text, self._recycling.state, self.table.estimates)
