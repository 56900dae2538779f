"""Autoregressive decoding: one target step a token, on the same engine as everything else. The baseline of every speedup."""

from __future__ import annotations

from casspec.runtime.policies.base import Outcome
from casspec.runtime.sequence import Sequence
from casspec.runtime.tree import CandidateTree


class Autoregressive:
    needs_top = False
    keeps_learned = False

    def begin(self, sequence: Sequence) -> None:
        pass

    def draft(self, sequence: Sequence, max_depth: int) -> CandidateTree:
        return CandidateTree(sequence.tokens[-1])

    def observe(self, sequence: Sequence, outcome: Outcome) -> None:
        pass
