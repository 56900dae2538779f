"""Decodes recordings in simulation: any policy, without the model, at predicted latency.

A recording holds the target's token at every position of its text, so a policy's tree can be verified against it: candidates on the
recorded path are accepted, all others rejected, exactly as in a real decode with the same noise. The policy sees what it would see
for real (text so far, noise, the target's recorded successors after accepted tokens) and does not know when it has left the path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from casspec.runtime.acceptance import AcceptanceTable, confidence_bucket
from casspec.runtime.dsia import Plan
from casspec.runtime.noise import GumbelNoise
from casspec.runtime.policies.base import ForwardMs, Outcome, Policy
from casspec.runtime.policies.dytc import REVIEW_OVERHEAD_MS
from casspec.runtime.policies.dytc.reviewer import WIDTH, Reviewer
from casspec.runtime.timing import RanForward
from casspec.runtime.tree import CandidateTree
from casspec.runtime.verify import accept, cut
from casspec.tuner.acceptance import PlanTrace
from casspec.tuner.recordings import Recording

VerifyCost = Callable[[int, int], float]
"""(query tokens, context tokens) -> milliseconds of a verification, the policy's own overhead included."""


@dataclass
class Replayed:
    """What replaying some recordings came to. Milliseconds are predictions."""

    verify_steps: int = 0
    emitted_tokens: int = 0
    tree_nodes: int = 0
    method_ms: float = 0.0
    autoregressive_ms: float = 0.0

    def add(self, other: Replayed) -> None:
        self.verify_steps += other.verify_steps
        self.emitted_tokens += other.emitted_tokens
        self.tree_nodes += other.tree_nodes
        self.method_ms += other.method_ms
        self.autoregressive_ms += other.autoregressive_ms

    @property
    def speedup(self) -> float:
        """Predicted autoregressive time over predicted time of the method, same outputs."""
        return self.autoregressive_ms / self.method_ms if self.method_ms else 0.0

    @property
    def mean_acceptance_length(self) -> float:
        return self.emitted_tokens / self.verify_steps if self.verify_steps else 0.0


class RecordedText:
    """Stands in for `runtime.sequence.Sequence` and `Verified`: same text, same noise, the recording as the target."""

    def __init__(self, recording: Recording, noise: GumbelNoise | None) -> None:
        self.recording = recording
        self.draft_ms = 0.0
        self.sampling = recording.sampling
        self.tokens: list[int] = recording.prompt_tokens.tolist()
        self._text: list[int] = recording.tokens.tolist()
        self._ids: list[list[int]] = recording.top_ids.tolist()
        self._logits: list[list[float]] = recording.top_logits.tolist()
        self._noise = noise
        self.prompt_length = len(self.tokens)
        known = self.committed
        self.prompt_top = (self._ids[:known], self._logits[:known])

    @property
    def committed(self) -> int:
        return len(self.tokens) - 1

    def noise_rows(self, count: int) -> np.ndarray | None:
        return None if self._noise is None else self._noise.host_rows(len(self.tokens), count)

    def recent_forwards(self) -> list[RanForward]:
        """None: nothing runs here."""
        return []

    def targets(self, tree: CandidateTree) -> list[int]:
        """The recorded token after each node, by depth; only those on the recorded path are ever read."""
        end = len(self.tokens)
        return [self._text[min(end + depth, len(self._text) - 1)] for depth in tree.depths]

    def on_path(self, tree: CandidateTree) -> list[bool]:
        """Whether each node's whole path is the recorded text."""
        text, end = self._text, len(self.tokens)
        true = [True]
        for parent, token, depth in zip(tree.parents[1:], tree.tokens[1:], tree.depths[1:], strict=True):
            place = end + depth - 1
            true.append(true[parent] and place < len(text) and text[place] == token)
        return true

    def successors(self, nodes: list[int]) -> tuple[list[list[int]], list[list[float]]]:
        """Recorded successors after the accepted `nodes`; asked before the emitted tokens were appended."""
        start = self._first_row
        return self._ids[start : start + len(nodes)], self._logits[start : start + len(nodes)]

    def commit(self, emitted: list[int]) -> None:
        self._first_row = self.committed
        self.tokens.extend(emitted)


@dataclass
class RecordedVerification:
    """Stands in for `runtime.sequence.Verified`."""

    text: RecordedText
    tokens: list[int]

    def rows(self, nodes: list[int]) -> tuple[list[list[int]], list[list[float]]]:
        return self.text.successors(nodes)


class ReplayedReviewer(Reviewer):
    """Stands in for a plan: on the recorded path it says what the plan said there when it was traced.

    Off the path, where nothing was traced, it says what it said at some other place where it was wrong: tokens that are not accepted
    with a confidence it has when it errs. Its forwards are charged at predicted latency.
    """

    def __init__(
        self,
        plan: Plan,
        table: AcceptanceTable,
        prior_acceptance: float,
        traces: dict[tuple[str, str], PlanTrace],
        forward_ms: ForwardMs,
    ) -> None:
        """`traces` by (prompt id, decoding mode)."""
        super().__init__(plan, table, prior_acceptance)
        self._forward_ms = forward_ms
        self._traced = {
            key: [
                [(token, confidence_bucket(gap)) for token, gap in zip(ids[:WIDTH], gaps[:WIDTH], strict=True)]
                for ids, gaps in zip(trace.token_ids.tolist(), trace.gaps.tolist(), strict=True)
            ]
            for key, trace in traces.items()
        }
        self._wrong = [
            said
            for key, trace in traces.items()
            for said, hit in zip(self._traced[key], trace.hits.tolist(), strict=True)
            if not hit
        ]

    def propose(self, sequence: Any, tree: CandidateTree, nodes: list[int]) -> list[list[tuple[int, int]]]:
        text: RecordedText = sequence
        text.draft_ms += self._forward_ms(self.plan, len(nodes), text.committed) + REVIEW_OVERHEAD_MS
        traced = self._traced[text.recording.prompt_id, text.recording.mode]
        on_path, first = text.on_path(tree), text.committed + 1 - text.prompt_length
        said = []
        for node in nodes:
            place = first + tree.depths[node]
            if on_path[node] and place < len(traced):
                said.append(traced[place])
            else:
                said.append(self._wrong[(place * 31 + node) % len(self._wrong)] if self._wrong else traced[-1])
        return said


def replay(policy: Policy, recordings: Iterable[Recording], vocab_size: int, verify_cost: VerifyCost) -> Replayed:
    """Replays each recording from a cold start, as a benchmark would run it."""
    total = Replayed()
    for recording in recordings:
        noise = None if recording.sampling.greedy else GumbelNoise(recording.seed, vocab_size)
        replay_one(policy, RecordedText(recording, noise), len(recording.continuation_tokens), verify_cost, total)
    return total


def replay_one(policy: Policy, text: RecordedText, n_tokens: int, verify_cost: VerifyCost, total: Replayed) -> None:
    """Decodes `n_tokens` tokens of one text and adds what it took to `total`."""
    policy.begin(text)  # type: ignore[arg-type]
    remaining = n_tokens
    while remaining > 0:
        context, text.draft_ms = text.committed, 0.0
        tree = policy.draft(text, remaining - 1)  # type: ignore[arg-type]
        verified = RecordedVerification(text, text.targets(tree))
        path, emitted, _ = cut(*accept(tree, verified.tokens), remaining, ())
        text.commit(emitted)
        policy.observe(text, Outcome(tree, path, emitted, verified))  # type: ignore[arg-type]
        remaining -= len(emitted)
        total.verify_steps += 1
        total.emitted_tokens += len(emitted)
        total.tree_nodes += len(tree)
        total.method_ms += verify_cost(len(tree), context) + text.draft_ms
        total.autoregressive_ms += sum(verify_cost(1, context + place) for place in range(len(emitted)))
