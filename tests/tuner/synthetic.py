"""A search whose answers are known: additive losses, no model, runnable as a process of its own.

As a process it is offered 8-bit plans beside the target's precision, shares the search with others like it, and prints
the plans it evaluates.

python -m tests.tuner.synthetic DATABASE STUDY_URL TRIALS
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from casspec.storage import open_repository
from casspec.storage.schema import DrafterCandidate, Precision, Quantization
from casspec.tuner.search.plan_spec import PlanSpec
from casspec.tuner.search.stage import StoredSearch
from casspec.tuner.search.study import DrafterSearch, SearchBudget
from tests.storage import samples

N_LAYERS = 6
SETTINGS = {"purpose": "synthetic search"}


class SyntheticEvaluator:
    """Each sub-layer left out costs acceptance of its own; attention is cheap to leave out, MLPs save more time.

    8-bit linears take 70 % of the time and cost 2 % of acceptance.
    """

    def __init__(self, seconds: float = 0.0, quantised: bool = False) -> None:
        self.seconds = seconds
        self.precisions = (Precision.TARGET, *([Precision.INT8_DYNAMIC] if quantised else []))
        self.evaluated: list[PlanSpec] = []

    def cost(self, spec: PlanSpec) -> float:
        whole = 1 - 0.05 * len(spec.skip.attention) - 0.1 * len(spec.skip.mlp)
        return whole if spec.precision is Precision.TARGET else 0.7 * whole

    def acceptance(self, spec: PlanSpec) -> float:
        lost = sum(0.03 * layer for layer in spec.skip.attention) + sum(0.02 * (9 - layer) for layer in spec.skip.mlp)
        return 1 - lost - (0.0 if spec.precision is Precision.TARGET else 0.02)

    def evaluate(
        self,
        spec: PlanSpec,
        source: str,
        rival: DrafterCandidate | None = None,
        recordings: int | None = None,
        profile_depths: bool = True,
    ) -> DrafterCandidate:
        time.sleep(self.seconds)
        self.evaluated.append(spec)
        return DrafterCandidate(
            skip=spec.skip,
            quantization=Quantization(precision=spec.precision),
            source=source,
            acceptance=self.acceptance(spec),
            cost=self.cost(spec),
            step_ms=self.cost(spec),
            n_tokens=100,
            seconds=0.01,
        )


class PrintingEvaluator(SyntheticEvaluator):
    def evaluate(self, spec: PlanSpec, *arguments: Any, **options: Any) -> DrafterCandidate:
        print(spec.name, flush=True)
        return super().evaluate(spec, *arguments, **options)


def main(database: str, study_url: str, trials: str) -> None:
    with open_repository(database) as repository:
        calibration = repository.calibration(samples.model(), samples.device(), "float32", SETTINGS)
        shared = StoredSearch(repository, calibration.calibration_id)
        search = DrafterSearch(
            PrintingEvaluator(seconds=0.02, quantised=True),
            N_LAYERS,
            SearchBudget(trials=int(trials), seconds=1e9, patience=10**6),
            shared.candidates(),
            shared.save,
            study_url,
            calibration.calibration_id,
            seed=os.getpid(),
            sampler="tpe",
            shared=shared,
        )
        print("ready", flush=True)
        search.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
