"""What a policy is: it drafts a tree, and learns from what the target made of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from casspec.runtime.sequence import Sequence, Verified
from casspec.runtime.tree import CandidateTree


@dataclass(slots=True)
class Outcome:
    """One step after verification: the tree, the accepted nodes (root first), what was emitted, what the target said of every node."""

    tree: CandidateTree
    path: list[int]
    emitted: list[int]
    verified: Verified


class Policy(Protocol):
    """Decides what is drafted next. One instance serves one request at a time."""

    needs_top: bool
    """Whether it learns from the target's top successors (`Outcome.verified.rows`, `Sequence.prompt_top`)."""

    keeps_learned: bool
    """Whether `begin` leaves what earlier requests taught it, instead of returning to the profile's state (the default)."""

    def begin(self, sequence: Sequence) -> None:
        """A new request whose prompt is in `sequence`."""

    def draft(self, sequence: Sequence, max_depth: int) -> CandidateTree:
        """The tree to verify next: its root is the sequence's last token and no node lies deeper than `max_depth`."""
        ...

    def observe(self, sequence: Sequence, outcome: Outcome) -> None:
        """Called after each step, once the emitted tokens were appended to `sequence.tokens`."""
