"""Every method of a profile replayed on recordings: what it is predicted to gain by task, and how far from the bounds it stays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from casspec.runtime.drafters.token_recycling import RecyclingMatrix
from casspec.runtime.loading.profiles import cascade_of
from casspec.runtime.model.plan import Plan
from casspec.runtime.policies.base import ForwardMs, Policy
from casspec.storage.schema import CASCADE, OVERALL, CascadeProfile, Mode
from casspec.tuner.bench.entries import AUTOREGRESSIVE
from casspec.tuner.recordings.plan_traces import TraceShelf
from casspec.tuner.recordings.recording import Recording
from casspec.tuner.replay.bounds import Menu, clairvoyant_ms, menu_bound_ms
from casspec.tuner.replay.overhead import Overheads
from casspec.tuner.replay.policies import build_replayed, really_run, variant_of
from casspec.tuner.replay.recorded_sequence import Drafting
from casspec.tuner.replay.simulate import Replayed, VerifyCost, replay

T = TypeVar("T")

FURTHER_TEXT = 0.6
"""Of what an autoregressive step takes beside its forward, what it takes for each further text that shares the forward: .55 to .65 with 8
and 16 texts of smollm2."""


@dataclass(frozen=True)
class Predicted:
    """A method on one task ("overall": all of them) in one decoding mode."""

    method: str
    variant: str
    mode: Mode
    task: str
    speedup: float
    mean_acceptance_length: float
    drafts: float
    """Forwards of plans a verification."""
    tree_nodes: float
    n_prompts: int
    n_tokens: int


@dataclass(frozen=True)
class Played:
    """A method on every recording."""

    method: str
    variant: str
    texts: Sequence[tuple[Recording, Replayed]]

    def rows(self) -> list[Predicted]:
        """By mode, every task, all tasks together last."""
        rows = []
        for (mode, task), judged in by_mode_and_task(self.texts).items():
            total = Replayed()
            for _, result in judged:
                total.add(result)
            steps = total.verify_steps
            figures = total.speedup, total.mean_acceptance_length, total.drafts / steps, total.tree_nodes / steps
            rows.append(Predicted(self.method, self.variant, mode, task, *figures, len(judged), total.emitted_tokens))
        return rows


@dataclass(frozen=True)
class Bounds:
    """Speedups that dytc's drafters and knowing the text would allow at tree sizes as dytc has them by default, and what dytc reaches."""

    mode: Mode
    task: str
    menu: float
    clairvoyant: float
    reached: float | None
    """Replayed speedup of dytc over `menu`; None where dytc was not replayed."""


@dataclass(frozen=True)
class StepCosts:
    """Predicted milliseconds of steps with `batch` sequences side by side.

    Forwards come from a latency model for that batch. Beside them every sequence has a policy and a text of its own, one after the other;
    the forward is called once.
    """

    target_plan: Plan
    forward_ms: ForwardMs
    overheads: Overheads
    batch: int = 1

    def verify(self, method: str, mode: Mode) -> VerifyCost:
        plain, own = self.overheads.of(AUTOREGRESSIVE, mode), self.overheads.of(method, mode)
        slowdown = self.overheads.plain_slowdown if method == AUTOREGRESSIVE else 1.0

        def verify_ms(n_tokens: int, context: int) -> float:
            once = plain.verify_ms(n_tokens)
            beside = once * (1 + FURTHER_TEXT * (self.batch - 1)) + self.batch * (own.verify_ms(n_tokens) - once)
            return slowdown * self.forward_ms(self.target_plan, n_tokens, context) + beside

        return verify_ms

    def beginning(self, method: str, mode: Mode) -> Replayed:
        """What a text takes beside its steps because the first of them are cold."""
        plain, own = self.overheads.of(AUTOREGRESSIVE, mode), self.overheads.of(method, mode)
        return Replayed(method_ms=own.start_ms, autoregressive_ms=plain.start_ms)

    def draft(self, method: str, mode: Mode) -> ForwardMs:
        beside = self.batch * self.overheads.of(method, mode).draft_ms
        return lambda plan, n_tokens, context: self.forward_ms(plan, n_tokens, context) + beside


@dataclass(frozen=True)
class ReplayRun:
    """What is replayed: the methods of a profile on some recordings, at some latencies.

    Attributes:
        matrix: content of the profile's recycling matrix.
        shelf: what plans said on the recordings.
    """

    profile: CascadeProfile
    matrix: bytes | None
    recordings: Sequence[Recording]
    shelf: TraceShelf
    costs: StepCosts

    def method(self, method: str) -> Played:
        """What every recording came to."""
        policies: dict[tuple[Mode, str | None], Policy] = {}
        vocab_size, found = self.profile.model.vocab_size, []
        for recording in self.recordings:
            mode = recording.mode
            own = recording.task if method == CASCADE and recording.task in self.profile.by_task else None
            profile = cascade_of(self.profile, own)
            if (mode, own) not in policies:
                policies[mode, own] = build_replayed(method, profile, mode, self.matrix, self.costs.forward_ms)
            runs = really_run(method, profile)
            verify, plain = self.costs.verify(runs, mode), self.costs.verify(AUTOREGRESSIVE, mode)
            drafting = Drafting(self.shelf, self.costs.draft(runs, mode))
            replayed = replay(policies[mode, own], [recording], vocab_size, verify, plain, drafting)
            replayed.add(self.costs.beginning(runs, mode))
            found.append((recording, replayed))
        return Played(method, variant_of(method, self.profile), found)

    def bounds(self, predicted: Iterable[Predicted] = ()) -> list[Bounds]:
        """By mode, every task, all tasks together last; with the share of the menu bound that dytc reaches."""
        replayed = {(row.mode, row.task): row.speedup for row in predicted if row.method == CASCADE}
        each = [(recording, self._bounds_ms(recording)) for recording in self.recordings]
        rows = []
        for (mode, task), found in by_mode_and_task(each).items():
            plain, menu, clairvoyant = (sum(times[place] for _, times in found) for place in range(3))
            bound, reached = plain / menu, replayed.get((mode, task))
            rows.append(Bounds(mode, task, bound, plain / clairvoyant, None if reached is None else reached / bound))
        return rows

    def _bounds_ms(self, recording: Recording) -> tuple[float, float, float]:
        """Autoregressive, by the menu bound, by the clairvoyant bound."""
        plain, first = self.costs.verify(AUTOREGRESSIVE, recording.mode), len(recording.prompt_tokens) - 1
        plain_ms = sum(plain(1, first + place) for place in range(len(recording.continuation_tokens)))
        menu, cold = self._menu(recording.mode, recording.task), self.costs.beginning(CASCADE, recording.mode)
        bounds_ms = menu_bound_ms(recording, menu), clairvoyant_ms(recording, menu)
        # Plain decoding is on the menu, without what dytc costs beside its forwards.
        menu_ms, clairvoyant = (min(bound_ms, plain_ms) + cold.method_ms for bound_ms in bounds_ms)
        return plain_ms + cold.autoregressive_ms, menu_ms, clairvoyant

    def _menu(self, mode: Mode, task: str) -> Menu:
        profile = cascade_of(self.profile, task)
        vocab_size = profile.model.vocab_size
        chosen = [spec for spec in profile.drafters if spec.kind == "self" and spec.parameters.get("cascade", True)]
        n_layers = profile.model.n_layers
        plans = [Plan.skipping(spec.skip, n_layers, spec.name, spec.quantization.precision) for spec in chosen]
        menu = Menu(
            vocab_size,
            self.costs.verify(CASCADE, mode),
            self.costs.draft(CASCADE, mode),
            matrix=RecyclingMatrix.from_bytes(self.matrix, vocab_size) if self.matrix else None,
            prior=next((entry for entry in profile.acceptance if entry.mode == mode), None),
        )
        return replace(
            menu, plans=[(plan, self.shelf(plan)) for plan in plans] if profile.decision == "cascade" else []
        )


def speedups(rows: Iterable[Predicted]) -> dict[str, dict[str, float]]:
    """Of one method by mode and task."""
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        found.setdefault(row.mode, {})[row.task] = row.speedup
    return found


def by_mode_and_task(
    judged: Iterable[tuple[Recording, T]],
) -> Mapping[tuple[Mode, str], list[tuple[Recording, T]]]:
    """Everything by decoding mode and task, "overall" last in each mode."""
    everything = list(judged)
    groups: dict[tuple[Mode, str], list[tuple[Recording, T]]] = {}
    for mode in dict.fromkeys(recording.mode for recording, _ in everything):
        of_mode = [one for one in everything if one[0].mode == mode]
        for one in of_mode:
            groups.setdefault((mode, one[0].task), []).append(one)
        groups[mode, OVERALL] = of_mode
    return groups
