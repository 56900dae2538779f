"""What one plan said on the recordings, as a drafter would say it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from casspec.runtime.decoding.sequence import Proposal
from casspec.storage.schema import Mode
from casspec.tuner.recordings.offline_acceptance import PlanTrace

RecordingKey = tuple[str, Mode]
"""(prompt id, decoding mode)."""

Traces = Mapping[RecordingKey, PlanTrace]


class TracedPlan:
    """What one plan said after every token of some recordings.

    Args:
        traces: at the depths drafts have. first: as the first token of a draft, where that was traced apart.
    """

    def __init__(self, traces: Traces, first: Traces | None = None) -> None:
        self._said = {key: _proposals(trace) for key, trace in traces.items()}
        self._said_first = {key: _proposals(trace) for key, trace in first.items()} if first else self._said
        self._anywhere = [proposal for proposals in self._said.values() for proposal in proposals]

    def said(self, key: RecordingKey, place: int, depth: int) -> Proposal:
        """What it said of the continuation's token `place` after a node of `depth`, the last one traced past the end."""
        traced = self._said[key] if depth else self._said_first[key]
        return traced[min(place, len(traced) - 1)]

    def astray(self, draw: int) -> Proposal:
        """What it said at some place of all its recordings; `draw` says where."""
        return self._anywhere[draw % len(self._anywhere)]


def _proposals(trace: PlanTrace) -> list[Proposal]:
    """Scores over the best one's; the gap of the best is to the second, as `PlanTrace` has it."""
    scores = trace.gaps.copy()
    scores[:, 0] = 0.0
    likely = trace.probabilities if trace.probabilities is not None else np.empty((len(scores), 0))
    columns = trace.token_ids.tolist(), scores.tolist(), likely.tolist()
    return [Proposal(ids, values, odds) for ids, values, odds in zip(*columns, strict=True)]
