"""Lookahead decoding: n-grams from Jacobi iteration, guessed and verified in the same forward (arXiv 2402.02057).

A window of `window` columns and `level` - 1 rows runs beside the guesses. Its first row is a chain from the root (the root itself is
column 0); under column j hangs a chain of the column's later rows, which so attends to the root, the first row up to j and its own
earlier rows: the published mask, drawn as a tree. The target's tokens after these chains are the next row, and each column with its
new token is an n-gram for the pool. Then the window moves one row and one column on. The guesses are the latest n-grams that begin
with the root. Window nodes are ordinary candidates: should one match, it is accepted like any other.

Published settings: window 7, n-grams of 5, 7 guesses, pool from the Jacobi trajectories alone, first row drawn from the prompt; the
window moves by one whatever was accepted. 7 x 4 + 7 x 4 query tokens a step. What differs: where window and guesses agree their nodes
merge, and the last tokens of a request, fewer than the window is deep, are decoded with the guesses alone.
"""

from __future__ import annotations

import random

from casspec.runtime.decoding.sequence import MAX_TREE_NODES, Sequence
from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.policies.base import Policy, VerifyResult
from casspec.storage.errors import UnsupportedOption


class NgramPool:
    """The latest n-grams by their first token, at most `guesses` of each."""

    def __init__(self, guesses: int) -> None:
        self._guesses = guesses
        self._followers: dict[int, dict[tuple[int, ...], None]] = {}

    def add(self, ngram: tuple[int, ...]) -> None:
        """Keeps an n-gram as the most recent one."""
        known = self._followers.setdefault(ngram[0], {})
        known.pop(ngram[1:], None)
        known[ngram[1:]] = None
        if len(known) > self._guesses:
            del known[next(iter(known))]

    def after(self, token: int) -> list[tuple[int, ...]]:
        """What followed `token`, most recent first."""
        return list(reversed(self._followers.get(token, {})))


class JacobiWindow:
    """The window's tokens, row by row; the rows below the first fill up one a step.

    Attributes:
        spine: first row without column 0, which is the root.
        rows: later rows; `rows[r][j]` stands `r + 1` tokens after column j of the first row.
    """

    def __init__(self, window: int, level: int, text: list[int], seed: int = 0) -> None:
        self._n_rows = level - 2
        self.spine = random.Random(seed).choices(text, k=window + level - 3)
        self.rows: list[list[int]] = []

    @property
    def depth(self) -> int:
        """Depth of its deepest node."""
        return len(self.spine) + len(self.rows)

    def draw(self, tree: CandidateTree) -> list[int]:
        """Adds the window under the root; the last node of every column."""
        node, ends = 0, []
        for column in range(len(self.spine) + 1):
            if column:
                node = tree.add(node, self.spine[column - 1], "jacobi")
            end = node
            for row in self.rows:
                end = tree.add(end, row[column], "jacobi")
            ends.append(end)
        return ends

    def advance(self, root: int, new: list[int]) -> list[tuple[int, ...]]:
        """Moves on with the target's token after every column; the n-grams, [] while rows are missing."""
        if len(self.rows) < self._n_rows:
            self.rows = [row[1:] for row in (*self.rows, new)]
            self.spine = self.spine[1:]
            return []
        ngrams = list(zip([root, *self.spine], *self.rows, new, strict=True))
        self.spine, *self.rows = [self.rows[0][1:], *self.rows[1:], new]
        return ngrams


def largest_tree(window: int, level: int, guesses: int) -> int:
    """Nodes of the largest tree of a request, root included; a window with missing rows has more columns."""
    return max((window + level - 2 - rows) * (rows + 1) for rows in range(level - 1)) + guesses * (level - 1)


class Lookahead(Policy):
    """Policy of lookahead decoding.

    Args:
        window, level, guesses: W, N and G of the paper.
        from_prompt: also fill the pool with the prompt's n-grams and those emitted.
    """

    summary = "n-grams from Jacobi iteration beside the verification"

    def __init__(self, window: int = 7, level: int = 5, guesses: int = 7, from_prompt: bool = False) -> None:
        if window < 2 or level < 3 or guesses < 1:
            raise UnsupportedOption("lookahead needs window >= 2, level >= 3 and guesses >= 1")
        n_nodes = largest_tree(window, level, guesses)
        if n_nodes > MAX_TREE_NODES:
            raise UnsupportedOption(
                f"lookahead with window {window}, level {level} and guesses {guesses} verifies {n_nodes} tokens a step; "
                f"the most is {MAX_TREE_NODES}"
            )
        self._size = window, level
        self._guesses = guesses
        self._from_prompt = from_prompt
        self._ends: list[int] = []

    def begin(self, sequence: Sequence) -> None:
        self._pool = NgramPool(self._guesses)
        self._window = JacobiWindow(*self._size, sequence.tokens)
        if self._from_prompt:
            self._collect(sequence.tokens)

    def draft(self, sequence: Sequence, max_depth: int) -> CandidateTree:
        tree = CandidateTree(sequence.tokens[-1])
        for ngram in self._pool.after(tree.tokens[0]):
            node = 0
            for token in ngram[:max_depth]:
                node = tree.add(node, token, "lookahead")
        self._ends = self._window.draw(tree) if self._window.depth <= max_depth else []
        return tree

    def observe(self, sequence: Sequence, result: VerifyResult) -> None:
        if self._ends and result.ruled_out.isdisjoint(self._ends):
            new = [result.outputs.token_after(node) for node in self._ends]
            for ngram in self._window.advance(result.tree.tokens[0], new):
                self._pool.add(ngram)
        if self._from_prompt:
            self._collect(sequence.tokens[-len(result.emitted) - self._size[1] + 1 :])

    def _collect(self, text: list[int]) -> None:
        """Every n-gram of a text."""
        level = self._size[1]
        for start in range(len(text) - level + 1):
            self._pool.add(tuple(text[start : start + level]))
