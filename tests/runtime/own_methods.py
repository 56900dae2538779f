"""A method that is not built in, and a registry that tests may fill."""

from __future__ import annotations

import pytest

from casspec.runtime import policies
from casspec.runtime.decoding.sequence import Sequence
from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.policies import METHODS
from casspec.runtime.policies.base import Policy
from casspec.runtime.policies.registry import MethodRegistry


class Copying(Policy):
    summary = "the newest token once more"

    def __init__(self, n_tokens: int = 2) -> None:
        self._n_tokens = n_tokens

    def draft(self, sequence: Sequence, max_depth: int) -> CandidateTree:
        tree, node = CandidateTree(sequence.tokens[-1]), 0
        for _ in range(min(self._n_tokens, max_depth)):
            node = tree.add(node, sequence.tokens[-1], "copy")
        return tree


class CopyingRecordings(Copying):
    replayable = True


def empty_registry(monkeypatch: pytest.MonkeyPatch) -> MethodRegistry:
    """Makes everybody ask a registry of the built-in methods alone, until the test is over."""
    registry = MethodRegistry(METHODS)
    monkeypatch.setattr(policies, "_registry", registry)
    return registry
