"""One short real decode with any policy, and what its steps took: the samples that `tuner/replay/overhead.py` fits costs to."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from statistics import fmean

from casspec.runtime.decode import Decoder
from casspec.runtime.decoding.sequence import Sequence as Text
from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.latency.timing import RanForward
from casspec.runtime.model.plan import Plan
from casspec.runtime.model.target import TargetModel
from casspec.runtime.policies.autoregressive import Autoregressive
from casspec.runtime.policies.base import ForwardMs, Policy, VerifyResult
from casspec.storage.schema import Mode
from casspec.tuner.recordings.recording import Recording

COLD_STEPS = 8
"""At the beginning of a text."""


@dataclass
class Probe:
    """One short decode: what happened in it how often, and its milliseconds beside the forwards."""

    steps: int = 0
    nodes: int = 0
    drafts: int = 0
    """Forwards of plans."""
    overhead_ms: float = 0.0
    slowdowns: list[float] = field(default_factory=list)
    """How many times as long as predicted forwards of the target took."""
    start_ms: float | None = None
    """What its first steps took longer than the others; None where there were no others. All else is of the others."""


@dataclass(frozen=True)
class _Step:
    """One step of a probe; milliseconds."""

    n_nodes: int
    ran: Sequence[RanForward]
    beside_ms: float


class _Watched(Policy):
    """A policy, and what its steps took."""

    def __init__(self, policy: Policy, target_plan: Plan, forward_ms: ForwardMs | None) -> None:
        self.policy = policy
        self.needs_top = policy.needs_top
        self._target_plan, self._forward_ms = target_plan, forward_ms

    def begin(self, sequence: Text) -> None:
        self.policy.begin(sequence)
        self.steps: list[_Step] = []

    def draft(self, sequence: Text, max_depth: int) -> CandidateTree:
        self._begun = time.perf_counter()
        return self.policy.draft(sequence, max_depth)

    def observe(self, sequence: Text, outcome: VerifyResult) -> None:
        self.policy.observe(sequence, outcome)
        milliseconds = (time.perf_counter() - self._begun) * 1e3
        ran = sequence.recent_forwards()
        self.steps.append(_Step(len(outcome.tree), ran, milliseconds - sum(forward.milliseconds for forward in ran)))

    def found(self) -> Probe:
        """In the steps since the text began."""
        cold, warm = self.steps[:COLD_STEPS], self.steps[COLD_STEPS:]
        found = Probe(
            steps=len(warm),
            nodes=sum(step.n_nodes - 1 for step in warm),
            drafts=sum(not self._own(forward) for step in warm for forward in step.ran),
            overhead_ms=sum(step.beside_ms for step in warm),
        )
        if self._forward_ms:
            for step in warm:
                if step.n_nodes > 1 or isinstance(self.policy, Autoregressive):  # single tokens count where all are
                    own = [forward for forward in step.ran if self._own(forward)]
                    found.slowdowns += [forward.milliseconds / self._predicted_ms(forward) for forward in own]
        if warm:
            found.start_ms = self._longer_ms(cold, warm)
        return found

    def _longer_ms(self, cold: Sequence[_Step], warm: Sequence[_Step]) -> float:
        """What the cold steps took longer than they would have, warm: forwards over their prediction, all else over the mean."""
        (cold_ms, cold_predicted), (warm_ms, warm_predicted) = self._forwards_ms(cold), self._forwards_ms(warm)
        beside_ms = fmean(step.beside_ms for step in warm)
        return cold_ms - cold_predicted * warm_ms / warm_predicted + sum(step.beside_ms - beside_ms for step in cold)

    def _own(self, forward: RanForward) -> bool:
        return forward.plan.name == self._target_plan.name

    def _predicted_ms(self, forward: RanForward) -> float:
        """1 where nothing predicts: then all forwards are taken for alike."""
        if self._forward_ms is None:
            return 1.0
        return self._forward_ms(forward.plan, forward.n_tokens, forward.context_tokens)

    def _forwards_ms(self, steps: Sequence[_Step]) -> tuple[float, float]:
        """Real, predicted."""
        ran = [forward for step in steps for forward in step.ran]
        return sum(forward.milliseconds for forward in ran), sum(map(self._predicted_ms, ran))


class _Enough(Exception):
    """Ends a decode that has shown what it was for."""


class Prober(Decoder):
    """A decoder with a policy that no profile set up."""

    def __init__(self, target: TargetModel, policy: Policy, forward_ms: ForwardMs | None) -> None:
        self._watched = _Watched(policy, target.full_plan, forward_ms)
        super().__init__(target)

    def run(self, recording: Recording, n_steps: int) -> Probe:
        """Decodes what was recorded after a prompt, until there were so many steps."""

        def stop_after(_: list[int]) -> None:
            if len(self._watched.steps) == n_steps:
                raise _Enough

        with suppress(_Enough):
            self.generate(
                recording.prompt_tokens.tolist(),
                max_new_tokens=len(recording.continuation_tokens),
                temperature=recording.temperature,
                seed=recording.seed,
                stop_token_ids=[],
                on_tokens=stop_after,
            )
        return self._watched.found()

    def _policy(self, mode: Mode) -> Policy:
        return self._watched
