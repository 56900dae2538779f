"""What a sampler proposes to evaluate next, thought out over a copy of the search in memory.

Workers think side by side: nobody waits for another's sampler, and what the store keeps of a search says nothing of the
sampler, so that a search may go on with any.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any

from casspec.storage.schema import DrafterCandidate, Precision
from casspec.tuner.search.plan_spec import PlanSpec
from casspec.tuner.search.samplers.by_name import make_sampler, search_space, told_attributes
from casspec.tuner.search.space import DIRECTIONS, objectives, parameters_of, spec_of

if TYPE_CHECKING:
    from optuna.trial import TrialState


class Proposer:
    """A sampler with all it has been told.

    Args:
        sampler: one of `SAMPLERS`.
    """

    def __init__(self, sampler: str, seed: int, n_layers: int, precisions: Sequence[Precision]) -> None:
        import optuna

        self._n_layers = n_layers
        self._precisions = precisions
        self._space = search_space(sampler, n_layers, precisions)
        self._attributes = told_attributes(sampler)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = optuna.create_study(directions=DIRECTIONS, sampler=make_sampler(sampler, seed, self._space))
        self._told: set[PlanSpec] = set()
        self._open: dict[PlanSpec, int] = {}
        """Trials by plan: this one's last proposal and what other workers are at."""

    def propose(self, known: Mapping[PlanSpec, DrafterCandidate], held: AbstractSet[PlanSpec]) -> dict[str, int | str]:
        """Parameters of a plan. Where the sampler has settled on what is known, it may be one of those.

        Args:
            known: what was evaluated so far.
            held: plans that are being evaluated, or were when this was last looked at.
        """
        import optuna

        self._follow(known, held)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that parts of it are experimental
            trial = self._study.ask(self._space)
        spec = spec_of(trial.params)
        if spec in self._told or spec in self._open:  # told again, one plan would count twice
            self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            self._open[spec] = trial.number
        return trial.params

    def _follow(self, known: Mapping[PlanSpec, DrafterCandidate], held: AbstractSet[PlanSpec]) -> None:
        from optuna.trial import TrialState

        for spec, number in list(self._open.items()):
            if spec in known:
                self._study.tell(number, objectives(known[spec]))
                self._told.add(spec)
            elif spec not in held:
                self._study.tell(number, state=TrialState.FAIL)
            else:
                continue
            del self._open[spec]
        for spec, candidate in known.items():
            if spec not in self._told:
                self._add(spec, TrialState.COMPLETE, objectives(candidate))
                self._told.add(spec)
        for spec in held:
            if spec not in self._told and spec not in self._open:
                self._open[spec] = self._add(spec, TrialState.RUNNING)

    def _add(self, spec: PlanSpec, state: TrialState, values: Sequence[float] | None = None) -> int:
        """Adds a trial that the sampler did not propose. Its number."""
        import optuna

        parameters: dict[str, Any] = parameters_of(spec, self._n_layers, self._precisions)
        trial = optuna.trial.create_trial(
            state=state,
            values=values,
            params=parameters,
            distributions=self._space,
            system_attrs=self._attributes,
        )
        self._study.add_trial(trial)
        return self._study.get_trials(deepcopy=False)[-1].number
