"""Autoregressive decoding: one target step a token, on the same engine as everything else. The baseline of every speedup."""

from __future__ import annotations

from casspec.runtime.decoding.sequence import Sequence
from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.policies.base import Policy


class Autoregressive(Policy):
    summary = "one target step a token"
    speculates = False

    def draft(self, sequence: Sequence, max_depth: int) -> CandidateTree:
        return CandidateTree(sequence.tokens[-1])
