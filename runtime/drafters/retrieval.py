"""Retrieval for a tree cascade: prompt lookup and token recycling joined at every leaf, with calibrated probabilities.

The longest n-gram that ends a leaf's path is looked up in the text. A match at text position p offers two things: the token that
followed there, and the target's own top successors recorded there. Where no more than the last token matches, or nothing does, its
recycled row says more than the one place. Rows keep logits, so they are perturbed with the noise of the position being drafted and
follow the target's sample.

What a candidate is worth comes from online cells keyed by match length, agreement with the literal continuation, and the gap
between its perturbed score and the best other one. Candidates under one leaf are disjoint events, so their estimates need no
correction for siblings. Every candidate offered under a visited node is scored, verified or not.
"""

from __future__ import annotations

from bisect import bisect_right

from casspec.runtime.decoding.acceptance import (
    GAP_EDGES,
    LITERAL_AGREES,
    LITERAL_DIFFERS,
    LITERAL_NONE,
    LITERAL_STATES,
    N_GAP,
    UNSCORED,
    AcceptanceTable,
    match_bucket,
)
from casspec.runtime.decoding.noise import NoiseRow
from casspec.runtime.decoding.successors import SuccessorRow
from casspec.runtime.drafters.prompt_lookup import PromptLookup
from casspec.runtime.drafters.token_recycling import TokenRecycling

Match = tuple[int, int]
"""(text position of the token that followed, length of the match); length 0 is no match."""

LONGEST_MATCH = 16
"""Matches are measured back to this many tokens."""

SPECIFIC_MATCH = 2
"""From this length on the row of the matched place is taken for what follows."""


class Retrieval:
    """Candidates at any leaf.

    Args:
        table: acceptance cells, see `runtime/decoding/acceptance.py`.
        recycling: rows for tokens that match nothing, or alone.
        max_ngram: longest n-gram in the index; longer matches are measured by comparison.
        branch: candidates offered under one leaf.
        at_leaves: look a leaf's own suffix up; otherwise only the text that follows the root's match is offered below it.
    """

    def __init__(
        self, table: AcceptanceTable, recycling: TokenRecycling, max_ngram: int, branch: int, at_leaves: bool = True
    ) -> None:
        self._at_leaves = at_leaves
        self.table = table
        self.max_ngram = max_ngram
        self._recycling = recycling
        self._branch = branch
        self._lookup = PromptLookup(max_ngram, 1, most_recent=True)
        self._rows: list[SuccessorRow] = []  # of the target, after each committed token of the text

    def reset(self) -> None:
        """Back to the profile's recycled rows and acceptance."""
        self._recycling.begin()
        self.table.reset()

    def begin(self, tokens: list[int], prompt_top: tuple[list[list[int]], list[list[float]]]) -> None:
        """A new text, with the target's successors after each of its committed tokens."""
        self._lookup.begin(tokens)
        self._rows = list(zip(*prompt_top, strict=True))
        self._recycling.refresh(tokens[: len(self._rows)], *prompt_top)

    def extend(self, emitted: list[int], visited: list[int], ids: list[list[int]], logits: list[list[float]]) -> None:
        """Appends emitted tokens, and the target's successors after the `visited` ones (the root and all accepted tokens)."""
        self._rows.extend(zip(ids, logits, strict=True))
        self._recycling.refresh(visited, ids, logits)
        self._lookup.extend(emitted)

    def root_match(self) -> Match:
        """The match of the text's own end, measured in full."""
        text = self._lookup.text
        position, length = self._lookup.match(text[-self.max_ngram :])
        if length == self.max_ngram:
            end = len(text)
            while (
                length < LONGEST_MATCH and length < position and text[position - 1 - length] == text[end - 1 - length]
            ):
                length += 1
        return position, length

    def continues(self, match: Match, token: int) -> bool:
        """Whether `token` is what followed at the match."""
        position, length = match
        return length > 0 and self._lookup.text[position] == token

    def next_match(self, match: Match) -> Match | None:
        """The match one token on, which continued at `match`; None where nothing follows in the text."""
        position, length = match
        return (position + 1, length + 1) if position + 1 < len(self._lookup.text) else None

    def match(self, suffix: tuple[int, ...]) -> Match:
        """The match of a path that ends with `suffix` and left the text, looked up anew."""
        return self._lookup.match(suffix) if self._at_leaves else (0, 0)

    def offer(
        self, token: int, match: Match, noise: NoiseRow | None, inverse_temperature: float
    ) -> list[tuple[int, int]]:
        """(token, cell) of the candidates after a leaf that ends with `token`, at most `branch` and the literal one.

        `noise` is the Gumbel row [vocab] of the position being drafted, None when greedy.
        """
        position, length = match
        literal, base = (self._lookup.text[position], match_bucket(length) * LITERAL_STATES) if length else (-1, 0)
        # The last row of the text is the root's, unknown until it is verified.
        known = length >= SPECIFIC_MATCH and position <= len(self._rows)
        row = self._rows[position - 1] if known else self._recycling.row(token)
        if row is None:
            return [(literal, (base + LITERAL_AGREES) * N_GAP + UNSCORED)] if length else []
        ids, logits = row
        if noise is None:
            scored = list(zip(logits, ids, strict=True))
        else:
            scored = [
                (value * inverse_temperature + g, i) for value, g, i in zip(logits, noise.of(ids), ids, strict=True)
            ]
            scored.sort(reverse=True)
        best, candidate = scored[0]
        second = scored[1][0] if len(scored) > 1 else best - GAP_EDGES[-1]
        missed = LITERAL_NONE if literal < 0 else LITERAL_DIFFERS
        listed = candidate == literal
        offered = [
            (
                candidate,
                (base + (LITERAL_AGREES if listed else missed)) * N_GAP + bisect_right(GAP_EDGES, best - second),
            )
        ]
        for score, candidate in scored[1 : self._branch]:
            state = missed
            if candidate == literal:
                state, listed = LITERAL_AGREES, True
            offered.append((candidate, (base + state) * N_GAP + bisect_right(GAP_EDGES, score - best)))
        if literal >= 0 and not listed:
            offered.append((literal, (base + LITERAL_AGREES) * N_GAP + UNSCORED))
        return offered
