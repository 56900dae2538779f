"""The drafter search: an Optuna study with two objectives, acceptance up and predicted step cost down.

A plan is told by its skip set and its precision; the target itself is never evaluated, for it drafts nothing cheaper.

The database of candidates is the truth and the study follows it: a candidate is saved before the study is told of it,
and on start the study is told whatever it missed. So a search that was interrupted anywhere, or whose study file was
lost, goes on without evaluating a plan twice. Seeds are evaluated first and added to the study as finished trials.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from casspec.storage.schema import DrafterCandidate, Precision, SkipSet
from casspec.tuner import walltime
from casspec.tuner.evaluation import CandidateEvaluator
from casspec.tuner.pareto import acceptance_to_beat, pareto_front
from casspec.tuner.plans import PlanSpec
from casspec.tuner.samplers import DEFAULT_SAMPLER, make_sampler, search_space, told_attributes
from casspec.tuner.space import (
    choices,
    leave_one_out,
    parameters_of,
    prefix_sweep,
    skip_of,
    spec_of,
    switches_of,
    uniform,
)

if TYPE_CHECKING:
    import optuna
    from optuna.samplers import BaseSampler

SENSITIVITY_SHARE = 0.5
"""Share of trials and time that leave-one-out evaluations may take; a deeper model's are thinned out evenly."""

QUANTISED_PREFIXES = 4
"""Prefix sets tried at each further precision."""

LONGEST_CHAIN = 8
"""Draft lengths by which prefix sets are compared."""

LONGEST_WALK = 100
"""Parameters changed, one after the other, in search of a plan not yet evaluated."""

SENSITIVITY = "sensitivity"


@dataclass(frozen=True)
class SearchBudget:
    """When a search ends: whichever comes first."""

    trials: int
    seconds: float
    patience: int
    """Sampled trials in a row that leave the front as it is."""


Save = Callable[[DrafterCandidate], DrafterCandidate]
Watch = Callable[[int, str], None]


class DrafterSearch:
    """One search, resumable from its stored candidates.

    Args:
        known: candidates stored by earlier runs of this search.
        save: stores a candidate and returns the one that is stored.
        watch: called with (candidates so far, note) after each.
        study_url: RDB storage of Optuna, a database of its own; None keeps the study in memory.
        sampler: what proposes plans after the seeds, one of `SAMPLERS`; a study stays with its sampler.
        sensitivity: whether uniform sets and those ranked by sensitivity are among the seeds.
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
        watch: Watch = lambda done, note: None,
        sampler: str = DEFAULT_SAMPLER,
        sensitivity: bool = True,
    ) -> None:
        self._evaluator = evaluator
        self._n_layers = n_layers
        self._budget = budget
        # One of a precision that an earlier run was offered and this one isn't can't be told to this study.
        usable = (candidate for candidate in known if candidate.quantization.precision in evaluator.precisions)
        self._candidates = {PlanSpec.of(candidate): candidate for candidate in usable}
        self._save = save
        self._imported = imported
        self._watch = watch
        self._sampler = sampler
        self._sensitivity = sensitivity
        self._distributions = search_space(sampler, n_layers, evaluator.precisions)
        made = make_sampler(sampler, seed + len(self._candidates), self._distributions)
        self._study = open_study(study_url, study_name, made)
        self._choices = choices(n_layers, evaluator.precisions)
        self._random = random.Random(seed + len(self._candidates))
        self._reconcile()

    def run(self) -> list[DrafterCandidate]:
        """Evaluates seeds, then what the sampler proposes, until the budget is spent. All candidates, in order."""
        if self._distributions:
            further = self._evaluator.precisions[1:]
            self._run_seeds([PlanSpec(precision=precision) for precision in further], "precision")
            if self._sensitivity:
                self._run_seeds(map(PlanSpec, uniform(self._n_layers)), "uniform")
            for name, skip in self._imported:
                inner = skip_of(switches_of(skip, self._n_layers))
                self._run_seeds([PlanSpec(inner)], f"import:{name}")
            if self._sensitivity:
                self._run_ranked()
            self._run_sampler()
        return list(self._candidates.values())

    def _run_ranked(self) -> None:
        """Leave-one-out sets, prefixes of their ranking, and the best of these at each further precision."""
        self._run_seeds(map(PlanSpec, self._leave_one_out()), SENSITIVITY, SENSITIVITY_SHARE)
        prefixes = prefix_sweep(self._sensitivity_ranking())
        self._run_seeds(map(PlanSpec, prefixes), "prefix")
        for precision in self._evaluator.precisions[1:]:
            self._run_seeds(self._quantised(prefixes, precision), "prefix")

    def _run_seeds(self, specs: Iterable[PlanSpec], source: str, share: float = 1.0) -> None:
        for spec in specs:
            if self._spent(share):
                return
            if self._is_new(spec):
                self._tell(self._evaluate(spec, source))

    def _is_new(self, spec: PlanSpec) -> bool:
        return spec not in self._candidates and not spec.is_target

    def _run_sampler(self) -> None:
        import optuna

        idle = 0
        while not self._spent() and idle < self._budget.patience:
            trial = self._study.ask(self._distributions)
            spec = spec_of(trial.params)
            front = pareto_front(self._candidates.values())
            if not self._is_new(spec):
                # Told again, one result would count twice. The sampler has settled there: look beside it.
                self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
                beside = self._beside(trial.params)
                if beside is None:
                    return
                self._tell(self._evaluate(beside, "beside"))
            else:
                try:
                    candidate = self._evaluate(spec, self._sampler)
                except BaseException:
                    self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
                    raise
                self._study.tell(trial, [candidate.acceptance, candidate.cost])
            idle = idle + 1 if pareto_front(self._candidates.values()) == front else 0

    def _beside(self, proposed: dict[str, Any]) -> PlanSpec | None:
        """A plan not yet evaluated, by a random walk over single parameters; None when there seems to be none left."""
        walk = dict(proposed)
        for _ in range(LONGEST_WALK):
            name = self._random.choice(list(walk))
            others = [value for value in self._choices[name] if value != walk[name]]
            walk[name] = self._random.choice(others)
            if self._is_new(spec_of(walk)):
                return spec_of(walk)
        return None

    def _evaluate(self, spec: PlanSpec, source: str) -> DrafterCandidate:
        ranked = source == SENSITIVITY  # compared with each other: all over the same recordings
        to_beat = 0.0 if ranked else acceptance_to_beat(self._candidates.values(), self._evaluator.cost(spec))
        candidate = self._save(self._evaluator.evaluate(spec, source, to_beat, profile_depths=not ranked))
        self._candidates[spec] = candidate
        self._watch(len(self._candidates), f"{source}, {len(pareto_front(self._candidates.values()))} on the front")
        return candidate

    def _tell(self, candidate: DrafterCandidate) -> None:
        """Adds a candidate to the study that no trial of it proposed."""
        import optuna

        self._study.add_trial(
            optuna.trial.create_trial(
                params=parameters_of(PlanSpec.of(candidate), self._n_layers, self._evaluator.precisions),
                distributions=self._distributions,
                values=[candidate.acceptance, candidate.cost],
                user_attrs={"source": candidate.source},
                system_attrs=told_attributes(self._sampler),
            )
        )

    def _leave_one_out(self) -> list[SkipSet]:
        singles = leave_one_out(self._n_layers)
        affordable = max(int(SENSITIVITY_SHARE * self._budget.trials), 1)
        step = max(-(-len(singles) // affordable), 1)
        # Thinned from both kinds in turn: an even step alone would drop one kind of sub-layer altogether.
        return [skip for i, skip in enumerate(singles) if (i // 2 + i % 2) % step == 0]

    def _sensitivity_ranking(self) -> list[SkipSet]:
        """Single sub-layers, those first whose loss of acceptance buys the most time."""
        singles = self._evaluated(leave_one_out(self._n_layers))
        ranked = sorted(singles, key=lambda c: (1 - c.acceptance) / max(1 - c.cost, 1e-6))
        return [candidate.skip for candidate in ranked]

    def _quantised(self, prefixes: Sequence[SkipSet], precision: Precision) -> list[PlanSpec]:
        """The few prefix sets that would draft fastest at a precision if it lost no acceptance; its cost is known."""

        def promise(candidate: DrafterCandidate) -> float:
            alive = [candidate.acceptance**i for i in range(1, LONGEST_CHAIN + 1)]
            cost = self._evaluator.cost(PlanSpec(candidate.skip, precision))
            return walltime.best_chain(alive, cost, lambda n_tokens: 1.0)[1]

        best = sorted(self._evaluated(prefixes), key=promise, reverse=True)[:QUANTISED_PREFIXES]
        return [PlanSpec(candidate.skip, precision) for candidate in best]

    def _evaluated(self, skips: Iterable[SkipSet]) -> list[DrafterCandidate]:
        """Those of these skip sets that were evaluated at the target's precision."""
        return [self._candidates[PlanSpec(skip)] for skip in skips if PlanSpec(skip) in self._candidates]

    def _spent(self, share: float = 1.0) -> bool:
        seconds = sum(candidate.seconds for candidate in self._candidates.values())
        return len(self._candidates) >= self._budget.trials or seconds >= share * self._budget.seconds

    def _reconcile(self) -> None:
        """Ends trials that a killed run left open, so that each candidate stands in the study exactly once."""
        import optuna

        state = optuna.trial.TrialState
        trials = self._study.get_trials(deepcopy=False)
        told = {spec_of(trial.params) for trial in trials if trial.state == state.COMPLETE}
        for trial in trials:
            if trial.state != state.RUNNING:
                continue
            proposed = len(trial.params) == len(self._distributions)  # else it was killed while asking
            candidate = self._candidates.get(spec_of(trial.params)) if proposed else None
            if candidate is None or PlanSpec.of(candidate) in told:
                self._study.tell(trial.number, state=state.FAIL)
            else:
                self._study.tell(trial.number, [candidate.acceptance, candidate.cost])
                told.add(PlanSpec.of(candidate))
        for spec, candidate in self._candidates.items():
            if spec not in told:
                self._tell(candidate)


def open_study(url: str | None, name: str, sampler: BaseSampler) -> optuna.Study:
    """The study of this name in Optuna's own database, created where missing; without a URL one in memory."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(
        storage=None if url is None else _storage(url),
        study_name=name,
        sampler=sampler,
        directions=["maximize", "minimize"],
        load_if_exists=True,
    )


def _storage(url: str) -> optuna.storages.RDBStorage:
    import optuna
    from sqlalchemy import event

    storage = optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 30}})
    if url.startswith("sqlite"):
        # One commit a switch: without this each would wait for the disk. What a crash loses, `_reconcile` adds again.
        @event.listens_for(storage.engine, "connect")
        def _relax(connection: Any, _record: Any) -> None:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = OFF")

        storage.engine.dispose()
    return storage
