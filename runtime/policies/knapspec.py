"""KnapSpec: a chain from the skip set that a dynamic programme finds best at this context (arXiv 2602.20217).

Every `refresh_steps` steps the last committed tokens run once through all sub-layers, then through the programme of
`runtime/drafters/knapsack.py`, with the predicted latencies at this context as weights. Of its skip sets, one for every saving, the one
with the most expected tokens per time drafts from then on: acceptance a is the share of those tokens on which its plan agrees with the
target, and a chain of d emits (1 - a^(d+1)) / (1 - a) tokens.

Published settings: chosen anew every 64 steps, half of the cost as budget, weights up to 5, similarity .5 at least, chains of 10 that
end under confidence .7. What differs: the first choice looks at the end of the prompt, not at the first steps; the choice looks at the
last 16 tokens, not at those of 5 steps; times are the latency model's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from casspec.runtime.decoding.sequence import MAX_TREE_NODES, Sequence
from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.drafters.knapsack import Way, integer_weights, most_similar_ways
from casspec.runtime.model.forward_input import bucket
from casspec.runtime.model.plan import Plan
from casspec.runtime.model.target import TargetModel
from casspec.runtime.policies.base import ForwardMs, Policy, PolicyContext, VerifyResult
from casspec.storage.errors import UnsupportedOption
from casspec.storage.schema import SkipSet


class KnapSpec(Policy):
    """Policy of KnapSpec.

    Args:
        forward_ms: latency prediction.
        refresh_steps: steps after which the skip set is chosen anew.
        window: tokens the choice looks at.
        budget: share of the cost of all sub-layers that may be saved at most.
        min_similarity: see `most_similar_ways`.
        n_tokens, threshold: longest chain, and the confidence under which it ends.
    """

    summary = "a chain from a skip set chosen by dynamic programming at this context"

    def __init__(
        self,
        target: TargetModel,
        forward_ms: ForwardMs,
        refresh_steps: int = 64,
        window: int = 16,
        budget: float = 0.5,
        min_similarity: float = 0.5,
        n_tokens: int = 10,
        threshold: float = 0.7,
    ) -> None:
        if not 1 <= window <= MAX_TREE_NODES:
            raise UnsupportedOption(f"knapspec looks at 1 to {MAX_TREE_NODES} tokens, not window={window}")
        self._target = target
        self._forward_ms = forward_ms
        self._refresh_steps = refresh_steps
        self._window = window
        self._budget = budget
        self._min_similarity = min_similarity
        self._n_tokens = n_tokens
        self._threshold = threshold

    @classmethod
    def build(cls, context: PolicyContext, **parameters: Any) -> Self:
        return cls(context.target, context.forward_ms(), **parameters)

    def begin(self, sequence: Sequence) -> None:
        self._drafting: Plan | None = None
        self._steps_left = 0

    def draft(self, sequence: Sequence, max_depth: int) -> CandidateTree:
        tree, node = CandidateTree(sequence.tokens[-1]), 0
        if self._steps_left <= 0 and max_depth > 0 and sequence.committed:
            self._drafting = self._choose(sequence)
            self._steps_left = self._refresh_steps
        if self._drafting is None:
            return tree
        for _ in range(min(self._n_tokens, max_depth)):
            (proposal,) = sequence.propose(self._drafting, tree, [node], probabilities=True)
            node = tree.add(node, proposal.tokens[0], "knapspec")
            if proposal.probabilities[0] < self._threshold:
                break
        return tree

    def observe(self, sequence: Sequence, result: VerifyResult) -> None:
        self._steps_left -= 1

    def _choose(self, sequence: Sequence) -> Plan | None:
        """The drafter of the skip set with the most tokens per time; None for a model of which nothing may be skipped."""
        target, context = self._target, sequence.committed
        n_layers, n_tokens = target.n_layers, min(self._window, context)
        pair = self._weights(context)
        weights = [0, 0, *pair * (n_layers - 2), 0, 0][: 2 * n_layers]
        budget = int(self._budget * sum(pair) * n_layers)
        best, best_rate = None, 0.0
        with sequence.clock.measure("draft"):
            trajectory = full_trajectory(target, sequence, n_tokens)
            run = replaying(target, sequence, n_tokens)
            noise = sequence.replayed_noise(n_tokens)
            emitted = self._tokens(sequence, trajectory[-1], noise)
            ways = most_similar_ways(trajectory, run, weights, budget, self._min_similarity)
            ways = [way for way in ways if way.skipped]
            agreed = [(self._tokens(sequence, way.hidden, noise) == emitted).float().mean() for way in ways]
            agreements = target.heard(torch.stack(agreed)).tolist() if agreed else []
        for way, agreement in zip(ways, agreements, strict=True):
            plan = self._plan(way)
            rate = self._rate(plan, agreement, context)
            if rate > best_rate:
                best, best_rate = plan, rate
        return best

    def _weights(self, context: int) -> tuple[int, int]:
        """Weights of an attention and an MLP sub-layer at this context, from what a forward without the inner ones saves."""
        n_layers = self._target.n_layers
        inner = tuple(range(1, n_layers - 1))
        full_ms = self._forward_ms(self._target.full_plan, 1, context)
        attention_ms, mlp_ms = (
            max(full_ms - self._forward_ms(Plan.skipping(skip, n_layers), 1, context), 1e-9)
            for skip in (SkipSet(attention=inner), SkipSet(mlp=inner))
        )
        return integer_weights(attention_ms, mlp_ms)

    def _plan(self, way: Way) -> Plan:
        attention, mlp = (tuple(place // 2 for place in way.skipped if place % 2 == part) for part in (0, 1))
        return Plan.skipping(SkipSet(attention=attention, mlp=mlp), self._target.n_layers)

    def _tokens(self, sequence: Sequence, hidden: Tensor, noise: Tensor | None) -> Tensor:
        return sequence.sampling.tokens(self._target.read(self._target.normalised(hidden)), noise)

    def _rate(self, plan: Plan, acceptance: float, context: int) -> float:
        """Tokens per millisecond at the best draft length."""
        draft_ms, best, emitted, power = self._forward_ms(plan, 1, context), 0.0, 1.0, 1.0
        for drafted in range(1, self._n_tokens + 1):
            power *= acceptance
            emitted += power
            verify_ms = self._forward_ms(self._target.full_plan, drafted + 1, context)
            best = max(best, emitted / (drafted * draft_ms + verify_ms))
        return best


def full_trajectory(target: TargetModel, sequence: Sequence, n_tokens: int) -> list[Tensor]:
    """The target's hidden states of the last committed tokens before each sub-layer and after the last, [tokens, hidden] each."""
    inputs = sequence.replay(n_tokens)
    frame, x = target.frame(inputs, sequence.cache), target.embed(inputs)
    states = [x]
    for index in range(target.n_layers):
        states.append(target.advanced(states[-1], frame, ((index, True, False),)))
        states.append(target.advanced(states[-1], None, ((index, False, True),)))
    return [x[:n_tokens] for x in states]


def replaying(target: TargetModel, sequence: Sequence, n_tokens: int) -> Callable[[int, Tensor], Tensor]:
    """Runs one sub-layer on several hidden states [ways, tokens, hidden] of the last committed tokens, each way on its own rows."""
    frames: dict[int, Any] = {}

    def attend(states: Tensor, index: int) -> Tensor:
        copies = len(states)
        if copies not in frames:
            frames[copies] = target.frame(sequence.replay(n_tokens, copies), sequence.cache)
        frame, rows = frames[copies], states.flatten(0, 1)
        padded = F.pad(rows, (0, 0, 0, bucket(len(rows)) - len(rows)))
        return target.advanced(padded, frame, ((index, True, False),))[: len(rows)].view_as(states)

    def run(sub_layer: int, states: Tensor) -> Tensor:
        index, is_mlp = divmod(sub_layer, 2)
        if is_mlp:
            return target.advanced(states.flatten(0, 1), None, ((index, False, True),)).view_as(states)
        return torch.cat([attend(part, index) for part in states.split(MAX_TREE_NODES // n_tokens)])

    return run
