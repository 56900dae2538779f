"""Who evaluates what: a worker leases the plan (`storage/leases.py`) and opens a trial in the study.

The trials are the record of what was tried. A running one lives as long as the lease it names by its fencing number. While the plan
is evaluated the worker's heartbeat renews the lease, so that it ends with whoever took it: a worker of this machine is known to
be dead at once, any other when its heart has been silent for a while. Then the lease is released, the trial fails, and the
plan is free again. A worker that was only paused finds its lease lost when it saves.

Everything but the heartbeat happens while all other workers are held off (`Measurements.alone`): what is decided there is decided once.
Leases taken there are kept with the block; a running trial without one belongs to a worker that died in the middle of deciding.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from casspec.storage.errors import LeaseLost, StorageError
from casspec.storage.holders import holder_name, is_dead
from casspec.storage.leases import Lease, Leases
from casspec.storage.measurements import plan_hash
from casspec.storage.schema import DrafterCandidate, Precision
from casspec.tuner.search.plan_spec import PlanSpec
from casspec.tuner.search.space import choices, objectives, parameters_of, spec_of

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

MOST_ATTEMPTS = 5
"""Workers that may die at a plan before it is left alone: it may be what kills them."""

HEARTBEAT_S = 2
GRACE_S = 45
"""A heart silent for longer is taken for dead; one may wait for the database for 30 s.
Should it be alive, a plan is evaluated twice, and still saved once."""

KIND = "trial"
"""Leases on plans; the key is the study's name, which is the calibration's ID, and the plan's hash."""

SOURCE = "source"
WORKER = "worker"
FENCING = "fencing"
LEFT = "left"
"""User attribute of a lease that its worker gave up in order."""


@dataclass(frozen=True, slots=True)
class TrialLease:
    """A plan that this worker evaluates."""

    spec: PlanSpec
    source: str
    trial_id: int
    fence: Lease | None
    """What its candidate is saved under; None where there are no other workers."""


class TrialLeases:
    """The leases of all workers on one study, as one of them sees them.

    Args:
        leases: of the database that the workers share; None where there are no others, so that a trial somebody else left running is
            one of a worker that ended.
    """

    def __init__(
        self, study: optuna.Study, n_layers: int, precisions: Sequence[Precision], leases: Leases | None = None
    ) -> None:
        from optuna.distributions import CategoricalDistribution

        self._study = study
        self._storage: Any = study._storage  # `Study.add_trial` does not tell the ID of the trial
        self._leases = leases
        self._n_layers = n_layers
        self._precisions = precisions
        self._distributions: dict[str, BaseDistribution] = {
            name: CategoricalDistribution(values) for name, values in choices(n_layers, precisions).items()
        }
        self._worker = holder_name()
        self.held: set[PlanSpec] = set()
        """Plans that are being evaluated, as of the last `follow`."""
        self._living: dict[str, Lease] = {}
        """By key, as of then."""
        self._failed: dict[PlanSpec, str] = {}
        self._attempts: Counter[PlanSpec] = Counter()
        self._specs: dict[int, PlanSpec] = {}

    def follow(self, candidates: Mapping[PlanSpec, DrafterCandidate]) -> None:
        """Brings the study up to the candidates: each stands in it as one finished trial, and dead leases fail."""
        import optuna

        state = optuna.trial.TrialState
        trials = self._study.get_trials(deepcopy=False)
        told = {self._spec(trial) for trial in trials if trial.state == state.COMPLETE}
        self._living = self._living_leases()
        self.held = set()
        self._failed, self._attempts = {}, Counter()
        for trial in trials:
            worker, spec = trial.user_attrs.get(WORKER), self._spec(trial)
            lost = trial.state == state.FAIL and worker is not None
            if trial.state == state.RUNNING:
                if worker is not None and spec in candidates and spec not in told:
                    self._study.tell(trial.number, objectives(candidates[spec]))
                    told.add(spec)
                    self._release(spec)
                elif spec in candidates or not self._is_alive(trial):
                    self._study.tell(trial.number, state=state.FAIL)
                    lost = worker is not None
                else:
                    self.held.add(spec)
            if lost:
                self._failed[spec] = trial.user_attrs[SOURCE]
                self._attempts[spec] += LEFT not in trial.user_attrs
        for spec, candidate in candidates.items():
            if spec not in told:
                self._add(spec, candidate.source, state.COMPLETE, objectives(candidate))

    def is_free(self, spec: PlanSpec) -> bool:
        """Whether nobody evaluates this plan and few have failed at it."""
        is_held = spec in self.held or self._key(spec) in self._living
        return not is_held and self._attempts[spec] < MOST_ATTEMPTS

    def lost(self) -> list[tuple[PlanSpec, str]]:
        """Plans with their sources whose evaluation did not end, to be tried again."""
        return [(spec, source) for spec, source in self._failed.items() if self.is_free(spec)]

    def take(self, spec: PlanSpec, source: str) -> TrialLease:
        """Leases a plan that is free."""
        import optuna

        fence: Lease | None = None
        told: dict[str, str | int] = {WORKER: self._worker}
        if self._leases is not None:
            fence = self._leases.acquire(KIND, self._key(spec), self._worker, GRACE_S)
            if fence is None:
                raise StorageError(f"plan {spec.name} is evaluated by another worker: run the same command again")
            self._living[fence.key] = fence
            told[FENCING] = fence.fencing
        trial_id = self._add(spec, source, optuna.trial.TrialState.RUNNING, told=told)
        self.held.add(spec)
        return TrialLease(spec, source, trial_id, fence)

    def leave(self) -> None:
        """Gives up whatever this worker still leases."""
        import optuna

        state = optuna.trial.TrialState
        self._living = self._living_leases()
        for trial in self._study.get_trials(deepcopy=False, states=(state.RUNNING,)):
            if trial.user_attrs.get(WORKER) == self._worker:
                self._storage.set_trial_user_attr(trial._trial_id, LEFT, True)
                self._study.tell(trial.number, state=state.FAIL)
                if self._is_alive(trial):
                    self._release(self._spec(trial))

    @contextmanager
    def alive(self, lease: TrialLease) -> Iterator[None]:
        """The heart of this worker beats inside the block."""
        leases, fence, stop = self._leases, lease.fence, threading.Event()
        if leases is None or fence is None:
            yield
            return

        def beat() -> None:
            while not stop.wait(HEARTBEAT_S):
                try:
                    leases.renew(fence)
                except LeaseLost:
                    return
                except StorageError:
                    continue  # the next one may come through

        heart = threading.Thread(target=beat, daemon=True)
        heart.start()
        try:
            yield
        finally:
            stop.set()
            heart.join()

    def _living_leases(self) -> dict[str, Lease]:
        """Of all workers on this study, by key; those of the dead are released."""
        if self._leases is None:
            return {}
        living = self._leases.living(KIND, f"{self._study.study_name}/", GRACE_S, is_dead)
        return {lease.key: lease for lease in living}

    def _is_alive(self, trial: optuna.trial.FrozenTrial) -> bool:
        """Whether the lease that a running trial names is held."""
        if self._leases is None:
            return trial.user_attrs.get(WORKER) == self._worker
        lease = self._living.get(self._key(self._spec(trial)))
        return lease is not None and lease.fencing == trial.user_attrs.get(FENCING)

    def _release(self, spec: PlanSpec) -> None:
        lease = self._living.pop(self._key(spec), None)
        if lease is not None and self._leases is not None:
            self._leases.release(lease)

    def _key(self, spec: PlanSpec) -> str:
        return f"{self._study.study_name}/{plan_hash(spec.skip, spec.precision)}"

    def _add(
        self,
        spec: PlanSpec,
        source: str,
        state: Any,
        values: list[float] | None = None,
        told: Mapping[str, str | int] | None = None,
    ) -> int:
        """Adds a trial that tells its source and what else is `told`. Its ID."""
        import optuna

        trial = optuna.trial.create_trial(
            state=state,
            values=values,
            params=parameters_of(spec, self._n_layers, self._precisions),
            distributions=self._distributions,
            user_attrs={SOURCE: source, **(told or {})},
        )
        return int(self._storage.create_new_trial(self._study._study_id, trial))  # `add_trial` tells no ID

    def _spec(self, trial: optuna.trial.FrozenTrial) -> PlanSpec:
        """The plan of a trial; what has ended keeps its own."""
        spec = self._specs.get(trial.number) or spec_of(trial.params)
        if trial.state.is_finished():
            self._specs[trial.number] = spec
        return spec
