"""The drafter search: an Optuna study with two objectives, acceptance up and predicted step cost down.

A plan is told by its skip set and its precision; the target itself is never evaluated, for it drafts nothing cheaper.

The database of candidates is the truth and the study follows it: a candidate is saved before the study is told of it,
and before each trial the study is told whatever it missed. So a search that was interrupted anywhere, or whose study was
lost, goes on without evaluating a plan twice.

Several workers may run the same search, on one machine or many (`tuner/search/workers/processes.py`). Each does all that is written here:
it leases the next plan that nobody has or is at, a starting plan or its sampler's proposal, evaluates it and saves it. They wait
for each other only before sets are ranked, and when the trials under way may be the last.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Protocol

from casspec.profiler.progress import Progress, silent
from casspec.storage.errors import LeaseLost, StorageError
from casspec.storage.leases import Leases
from casspec.storage.schema import DrafterCandidate, SkipSet
from casspec.tuner.search.budget import SENSITIVITY_SHARE
from casspec.tuner.search.pareto import best_within, pareto_front
from casspec.tuner.search.plan_spec import PlanSpec
from casspec.tuner.search.samplers.by_name import DEFAULT_SAMPLER
from casspec.tuner.search.samplers.proposals import Proposer
from casspec.tuner.search.space import choices, skip_of, spec_of, switches_of
from casspec.tuner.search.starting_plans import (
    leave_one_out,
    prefix_sweep,
    quantised_prefixes,
    ranking,
    thinned_leave_one_out,
    uniform,
)
from casspec.tuner.search.trial import CandidateEvaluator
from casspec.tuner.search.workers.leases import TrialLease, TrialLeases
from casspec.tuner.search.workers.optuna_storage import open_study, study_failures

LONGEST_WALK = 100
"""Parameters changed, one after the other, in search of a plan not yet evaluated."""

SENSITIVITY = "sensitivity"
BESIDE = "beside"

POLL_S = 0.1
"""Time between two looks at what other workers have done."""


@dataclass(frozen=True)
class SearchBudget:
    """When a search ends: whichever comes first."""

    trials: int
    seconds: float
    """Of proposing and evaluating, by this worker."""
    patience: int
    """Sampled trials in a row, of all workers and of earlier runs, that leave the front as it is."""
    spent_seconds: float = 0.0
    """Share of this worker in what earlier runs took."""
    sensitivity_recordings: int | None = None
    """That leave-one-out plans are scored on; None is all."""
    finishes_starting_plans: bool = False
    """Whether time ends only what comes after them."""


Save = Callable[..., DrafterCandidate | None]
"""(candidate), and the lease it is saved under where workers share the search."""


class Sharing(Protocol):
    """What the workers on one search share besides their study."""

    leases: Leases | None
    """On plans; None where no other worker can be."""

    def candidates(self) -> Sequence[DrafterCandidate]:
        """All stored so far, in the order they were evaluated."""

    def alone(self) -> AbstractContextManager[None]:
        """One worker at a time is let into the block."""

    def close(self) -> None:
        """From now on no further plan may be taken."""

    def closed(self) -> bool: ...


class DrafterSearch:
    """One search, resumable from its stored candidates.

    Args:
        known: candidates stored by earlier runs of this search.
        save: stores a candidate and returns the one that is stored, None where the search has ended without it. Raises LeaseLost for
            a lease that another worker has taken over: nothing is stored then, and the search goes on.
        progress: told the candidates so far after each.
        study_url: RDB storage of Optuna, a database of its own; None keeps the study in memory.
        sampler: what proposes plans after the starting plans, one of `SAMPLERS`.
        sensitivity: whether uniform sets and those ranked by sensitivity are among the starting plans.
        shared: what further workers share with this one; None where there are none.
        taken_over: the first so many of `known` are of a search that this one goes beyond: nobody's patience is less
            for them.
    """

    def __init__(
        self,
        evaluator: CandidateEvaluator,
        n_layers: int,
        budget: SearchBudget,
        known: Iterable[DrafterCandidate],
        save: Save,
        study_url: str | None,
        study_name: str,
        seed: int = 0,
        imported: Sequence[tuple[str, SkipSet]] = (),
        progress: Progress = silent,
        sampler: str = DEFAULT_SAMPLER,
        sensitivity: bool = True,
        shared: Sharing | None = None,
        taken_over: int = 0,
    ) -> None:
        self._evaluator = evaluator
        self._n_layers = n_layers
        self._budget = budget
        self._candidates: dict[PlanSpec, DrafterCandidate] = {}
        self._front: list[DrafterCandidate] = []
        self._save = save
        self._imported = imported
        self._progress = progress
        self._sampler = sampler
        self._sensitivity = sensitivity
        self._shared = shared
        self._closed = False
        self._seconds = budget.spent_seconds
        stored = list(known)
        self._add(stored[:taken_over])
        self._idle = 0
        """Sampled trials in a row that left the front as it is."""
        self._add(stored[taken_over:])
        self._choices = choices(n_layers, evaluator.precisions)
        self._random = random.Random(seed + len(self._candidates))
        self._proposer = Proposer(sampler, seed + len(self._candidates), n_layers, evaluator.precisions)
        with self._alone():
            study, leases = open_study(study_url, study_name), None if shared is None else shared.leases
            self._leases = TrialLeases(study, n_layers, evaluator.precisions, leases)
            self._leases.follow(self._candidates)

    def run(self) -> list[DrafterCandidate]:
        """Evaluates starting plans, then what the sampler proposes, until the budget is spent. All candidates, in order."""
        try:
            self._run()
            with self._alone():
                self._catch_up()
        except BaseException:
            with suppress(StorageError), self._alone():
                self._leases.leave()
            raise
        return list(self._candidates.values())

    def close(self) -> list[DrafterCandidate]:
        """Ends the search for all workers, once they have finished what they are at. All candidates, in order."""
        if self._shared is not None:
            self._shared.close()
        while True:
            with self._alone():
                self._catch_up()
                if not self._leases.held:
                    return list(self._candidates.values())
            time.sleep(POLL_S)

    def _run(self) -> None:
        if self._choices:
            further = self._evaluator.precisions[1:]
            self._run_starting_plans([PlanSpec(precision=precision) for precision in further], "precision")
            if self._sensitivity:
                self._run_starting_plans(map(PlanSpec, uniform(self._n_layers)), "uniform")
            for name, skip in self._imported:
                inner = skip_of(switches_of(skip, self._n_layers))
                self._run_starting_plans([PlanSpec(inner)], f"import:{name}")
            if self._sensitivity:
                self._run_ranked()
            self._run_sampler()

    def _run_ranked(self) -> None:
        """Leave-one-out sets, prefixes of their ranking, and the best of these at each further precision."""
        affordable = int(SENSITIVITY_SHARE * self._budget.trials)
        singles = map(PlanSpec, thinned_leave_one_out(self._n_layers, affordable))
        self._run_starting_plans(singles, SENSITIVITY, SENSITIVITY_SHARE, to_the_last=True)
        prefixes = prefix_sweep(ranking(self._evaluated(leave_one_out(self._n_layers))))
        self._run_starting_plans(map(PlanSpec, prefixes), "prefix", to_the_last=True)
        for precision in self._evaluator.precisions[1:]:
            best = quantised_prefixes(self._evaluated(prefixes), precision, self._evaluator.cost)
            self._run_starting_plans(best, "prefix")

    def _run_starting_plans(
        self, specs: Iterable[PlanSpec], source: str, share: float = 1.0, to_the_last: bool = False
    ) -> None:
        """Evaluates what is left of these plans, this worker's part of it where there are others.

        `to_the_last`: wait for theirs too, because what comes next compares all of these.
        """
        plans = list(specs)
        share = inf if self._budget.finishes_starting_plans else share
        awaited = set(plans) if to_the_last else set()

        def first() -> TrialLease | None:
            free = next(filter(self._is_free, plans), None)
            return None if free is None else self._leases.take(free, source)

        while (lease := self._lease(first, share, awaited)) is not None:
            self._evaluate(lease)

    def _run_sampler(self) -> None:
        while self._idle < self._budget.patience and not self._spent():
            begun = time.perf_counter()
            proposal = self._proposer.propose(self._candidates, self._leases.held)
            self._seconds += time.perf_counter() - begun
            lease = self._lease(partial(self._settle, proposal))
            if lease is None:
                return
            self._evaluate(lease)

    def _lease(
        self, choose: Callable[[], TrialLease | None], share: float = 1.0, awaited: AbstractSet[PlanSpec] = frozenset()
    ) -> TrialLease | None:
        """What this worker evaluates next; None when nothing is left to choose, or the share of the budget is spent.

        `awaited`: plans of which none may be under way in the end.
        """
        while True:
            with self._alone():
                self._catch_up()
                if self._spent(share):
                    return None
                if len(self._candidates) + len(self._leases.held) < self._budget.trials:
                    lease = self._retry() or choose()
                    if lease is not None or not awaited & self._leases.held:
                        return lease
            time.sleep(POLL_S)  # what others are at may be the last, or fail and be free again

    def _retry(self) -> TrialLease | None:
        """A plan whose evaluation was broken off."""
        lost = ((spec, source) for spec, source in self._leases.lost() if self._is_free(spec))
        return next((self._leases.take(*one) for one in lost), None)

    def _settle(self, proposal: Mapping[str, int | str]) -> TrialLease | None:
        """What was proposed, or where that is taken a plan beside it; None when those are taken too."""
        spec = spec_of(proposal)
        if self._is_free(spec):
            return self._leases.take(spec, self._sampler)
        beside = self._beside(proposal)
        return None if beside is None else self._leases.take(beside, BESIDE)

    def _is_free(self, spec: PlanSpec) -> bool:
        return spec not in self._candidates and not spec.is_target and self._leases.is_free(spec)

    def _beside(self, proposed: Mapping[str, int | str]) -> PlanSpec | None:
        """A plan not yet evaluated, by a random walk over single parameters; None when there seems to be none left."""
        walk = dict(proposed)
        for _ in range(LONGEST_WALK):
            name = self._random.choice(list(walk))
            others = [value for value in self._choices[name] if value != walk[name]]
            walk[name] = self._random.choice(others)
            if self._is_free(spec_of(walk)):
                return spec_of(walk)
        return None

    def _evaluate(self, lease: TrialLease) -> None:
        ranked = lease.source == SENSITIVITY  # compared with each other: all over the same recordings
        rival = None if ranked else best_within(self._front, self._evaluator.cost(lease.spec))
        recordings = self._budget.sensitivity_recordings if ranked else None
        with self._leases.alive(lease):
            fresh = self._evaluator.evaluate(lease.spec, lease.source, rival, recordings, profile_depths=not ranked)
            candidate = self._saved(fresh, lease)
        self._seconds += fresh.seconds
        if candidate is not None:
            self._add([candidate])
            self._report(lease.source)

    def _saved(self, fresh: DrafterCandidate, lease: TrialLease) -> DrafterCandidate | None:
        """The candidate as stored; None where the search, or this worker's part in it, has ended without it."""
        if lease.fence is None:
            return self._save(fresh)
        try:
            return self._save(fresh, lease.fence)
        except LeaseLost:  # this worker was paused, and taken for dead: what the others find out about the plan counts
            return None

    def _catch_up(self) -> None:
        """Learns what other workers have found, and brings the study up to it. Only while alone."""
        if self._shared is not None:
            self._closed = self._shared.closed()
            if self._add(self._shared.candidates()):
                self._report("by another worker")
        self._leases.follow(self._candidates)

    def _add(self, candidates: Iterable[DrafterCandidate]) -> bool:
        """Takes up candidates that were not known; whether there are any."""
        before = len(self._candidates)
        for candidate in candidates:
            # One of a precision that an earlier run was offered and this one isn't can't be told to this study.
            usable = candidate.quantization.precision in self._evaluator.precisions
            if usable and PlanSpec.of(candidate) not in self._candidates:
                self._candidates[PlanSpec.of(candidate)] = candidate
                front = pareto_front([*self._front, candidate])
                if front != self._front:
                    self._front, self._idle = front, 0
                elif candidate.source in (self._sampler, BESIDE):
                    self._idle += 1
        return len(self._candidates) > before

    def _report(self, note: str) -> None:
        self._progress(len(self._candidates), note=f"{note}, {len(self._front)} on the front")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Other workers are held off inside the block."""
        with study_failures():
            if self._shared is None:
                yield
            else:
                with self._shared.alone():
                    yield

    def _evaluated(self, skips: Iterable[SkipSet]) -> list[DrafterCandidate]:
        """Those of these skip sets that were evaluated at the target's precision."""
        return [self._candidates[PlanSpec(skip)] for skip in skips if PlanSpec(skip) in self._candidates]

    def _spent(self, share: float = 1.0) -> bool:
        out_of_time = self._seconds >= share * self._budget.seconds
        return self._closed or out_of_time or len(self._candidates) >= self._budget.trials
