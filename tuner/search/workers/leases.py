"""Who evaluates what: the trials of a study as leases of workers on plans.

A running trial that names its worker is a lease. While the plan is evaluated the worker's heartbeat is kept beside the
trial (Optuna's), so that a lease ends with whoever made it: a worker of this machine is known to be dead at once, any
other when its heart has been silent for a while. Its trial fails, and the plan is free again.

Everything but the heartbeat happens while all other workers are held off (`Measurements.alone`): what is decided there
is decided once. A trial left without a worker belongs to one that died in the middle of deciding.
"""

from __future__ import annotations

import os
import socket
import threading
import uuid
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from casspec.storage.errors import StorageError
from casspec.storage.schema import DrafterCandidate, Precision
from casspec.tuner.search.plan_spec import PlanSpec
from casspec.tuner.search.space import choices, objectives, parameters_of, spec_of
from casspec.tuner.search.workers.optuna_storage import HEARTBEAT_S, study_failures

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

MOST_ATTEMPTS = 5
"""Workers that may die at a plan before it is left alone: it may be what kills them."""

SOURCE = "source"
WORKER = "worker"
LEFT = "left"
"""User attribute of a lease that its worker gave up in order."""


@dataclass(frozen=True, slots=True)
class TrialLease:
    """A plan that this worker evaluates."""

    spec: PlanSpec
    source: str
    trial_id: int


class TrialLeases:
    """The leases of all workers on one study, as one of them sees them."""

    def __init__(self, study: optuna.Study, n_layers: int, precisions: Sequence[Precision]) -> None:
        from optuna.distributions import CategoricalDistribution

        self._study = study
        self._storage: Any = study._storage  # of a study only this gives heartbeats
        self._n_layers = n_layers
        self._precisions = precisions
        self._distributions: dict[str, BaseDistribution] = {
            name: CategoricalDistribution(values) for name, values in choices(n_layers, precisions).items()
        }
        self._worker = f"{_machine()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self.held: set[PlanSpec] = set()
        """Plans that are being evaluated, as of the last `follow`."""
        self._failed: dict[PlanSpec, str] = {}
        self._attempts: Counter[PlanSpec] = Counter()
        self._specs: dict[int, PlanSpec] = {}

    def follow(self, candidates: Mapping[PlanSpec, DrafterCandidate]) -> None:
        """Brings the study up to the candidates: each stands in it as one finished trial, and dead leases fail."""
        import optuna

        state = optuna.trial.TrialState
        trials = self._trials()
        told = {self._spec(trial) for trial in trials if trial.state == state.COMPLETE}
        self.held = set()
        self._failed, self._attempts = {}, Counter()
        for trial in trials:
            worker, spec = trial.user_attrs.get(WORKER), self._spec(trial)
            lost = trial.state == state.FAIL and worker is not None
            if trial.state == state.RUNNING:
                if worker is not None and spec in candidates and spec not in told:
                    self._study.tell(trial.number, objectives(candidates[spec]))
                    told.add(spec)
                elif worker is None or spec in candidates or _is_dead(worker):
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
        return spec not in self.held and self._attempts[spec] < MOST_ATTEMPTS

    def lost(self) -> list[tuple[PlanSpec, str]]:
        """Plans with their sources whose evaluation did not end, to be tried again."""
        return [(spec, source) for spec, source in self._failed.items() if self.is_free(spec)]

    def take(self, spec: PlanSpec, source: str) -> TrialLease:
        """TrialLeases a plan."""
        import optuna

        trial_id = self._add(spec, source, optuna.trial.TrialState.RUNNING)
        self._beat(trial_id)
        self._storage.set_trial_user_attr(trial_id, WORKER, self._worker)  # last: what has a worker has a heart
        self.held.add(spec)
        return TrialLease(spec, source, trial_id)

    def leave(self) -> None:
        """Gives up whatever this worker still leases."""
        import optuna

        state = optuna.trial.TrialState
        for trial in self._study.get_trials(deepcopy=False, states=(state.RUNNING,)):
            if trial.user_attrs.get(WORKER) == self._worker:
                self._storage.set_trial_user_attr(trial._trial_id, LEFT, True)
                self._study.tell(trial.number, state=state.FAIL)

    @contextmanager
    def alive(self, lease: TrialLease) -> Iterator[None]:
        """The heart of this worker beats inside the block."""
        stop = threading.Event()

        def beat() -> None:
            while not stop.wait(HEARTBEAT_S):
                with suppress(StorageError):  # the next one may come through
                    self._beat(lease.trial_id)

        heart = threading.Thread(target=beat, daemon=True)
        heart.start()
        try:
            yield
        finally:
            stop.set()
            heart.join()

    def _add(self, spec: PlanSpec, source: str, state: Any, values: list[float] | None = None) -> int:
        """Adds a trial. Its ID."""
        import optuna

        trial = optuna.trial.create_trial(
            state=state,
            values=values,
            params=parameters_of(spec, self._n_layers, self._precisions),
            distributions=self._distributions,
            user_attrs={SOURCE: source},
        )
        return int(self._storage.create_new_trial(self._study._study_id, trial))  # `add_trial` tells no ID

    def _spec(self, trial: optuna.trial.FrozenTrial) -> PlanSpec:
        """The plan of a trial; what has ended keeps its own."""
        spec = self._specs.get(trial.number) or spec_of(trial.params)
        if trial.state.is_finished():
            self._specs[trial.number] = spec
        return spec

    def _beat(self, trial_id: int) -> None:
        if hasattr(self._storage, "record_heartbeat"):  # a study in memory has one worker
            with study_failures():
                self._storage.record_heartbeat(trial_id)

    def _trials(self) -> list[optuna.trial.FrozenTrial]:
        """All trials, those failed whose heart is silent. Only another worker's can be."""
        import optuna

        trials = self._study.get_trials(deepcopy=False)
        running = (trial for trial in trials if trial.state == optuna.trial.TrialState.RUNNING)
        if all(trial.user_attrs.get(WORKER, self._worker) == self._worker for trial in running):
            return trials
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it is experimental
            optuna.storages.fail_stale_trials(self._study)
        return self._study.get_trials(deepcopy=False)


def _machine() -> str:
    """Where a process ID says which process: containers may share a host's name, each with process IDs of its own."""
    try:
        return f"{socket.gethostname()}/{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return socket.gethostname()


def _is_dead(worker: str) -> bool:
    """Whether a worker of this machine has ended; of others nothing is known but their heartbeat."""
    machine, pid, _ = worker.rsplit(":", 2)
    if os.name != "posix" or machine != _machine():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False
