"""Decodes recordings in simulation: any policy, without the model, at predicted latency.

The policy runs for real; `recorded_sequence.py` stands in for text and target. What a step costs is predicted: forwards by a latency
model, what happens beside them by what it took when it was measured (`overhead.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from casspec.runtime.decoding.verify import accept
from casspec.runtime.policies.base import Policy, VerifyResult
from casspec.tuner.recordings.recording import Recording
from casspec.tuner.replay.recorded_sequence import Drafting, RecordedText, RecordedVerification, noise_of

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
    drafts: int = 0
    """Forwards of plans."""

    def add(self, other: Replayed) -> None:
        self.verify_steps += other.verify_steps
        self.emitted_tokens += other.emitted_tokens
        self.tree_nodes += other.tree_nodes
        self.method_ms += other.method_ms
        self.autoregressive_ms += other.autoregressive_ms
        self.drafts += other.drafts

    @property
    def speedup(self) -> float:
        """Predicted autoregressive time over predicted time of the method, same outputs."""
        return self.autoregressive_ms / self.method_ms if self.method_ms else 0.0

    @property
    def mean_acceptance_length(self) -> float:
        return self.emitted_tokens / self.verify_steps if self.verify_steps else 0.0


def replay(
    policy: Policy,
    recordings: Iterable[Recording],
    vocab_size: int,
    verify_cost: VerifyCost,
    plain_cost: VerifyCost | None = None,
    drafting: Drafting | None = None,
) -> Replayed:
    """Replays each recording from a cold start, as a benchmark would run it.

    Args:
        plain_cost: of an autoregressive step, where it differs from `verify_cost` for one token.
        drafting: what the policy's plans said, and what they cost.
    """
    total = Replayed()
    for recording in recordings:
        text = RecordedText(recording, noise_of(recording, vocab_size), drafting)
        replay_one(policy, text, len(recording.continuation_tokens), verify_cost, total, plain_cost)
    return total


def replay_one(
    policy: Policy,
    text: RecordedText,
    n_tokens: int,
    verify_cost: VerifyCost,
    total: Replayed,
    plain_cost: VerifyCost | None = None,
) -> None:
    """Decodes `n_tokens` tokens of one text and adds what it took to `total`."""
    plain_cost = plain_cost or verify_cost
    policy.begin(text)  # type: ignore[arg-type]
    remaining = n_tokens
    while remaining > 0:
        context, text.draft_ms = text.committed, 0.0
        tree = policy.draft(text, remaining - 1)  # type: ignore[arg-type]
        outputs = RecordedVerification(text, text.targets(tree))
        path, emitted = (found[:remaining] for found in accept(tree, outputs.token_after))
        text.commit(emitted)
        policy.observe(text, VerifyResult(tree, path, emitted, outputs))  # type: ignore[arg-type]
        remaining -= len(emitted)
        total.verify_steps += 1
        total.emitted_tokens += len(emitted)
        total.tree_nodes += len(tree)
        total.method_ms += verify_cost(len(tree), context) + text.draft_ms
        total.autoregressive_ms += sum(plain_cost(1, context + place) for place in range(len(emitted)))
    total.drafts += text.drafts
