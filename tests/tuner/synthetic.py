"""A search whose answers are known: additive losses, no model, runnable as a process of its own.

python -m tests.tuner.synthetic DATABASE STUDY_URL TRIALS
"""

from __future__ import annotations

import sys
import time

from casspec.storage import open_repository
from casspec.storage.schema import DrafterCandidate, SkipSet
from casspec.tuner.study import DrafterSearch, SearchBudget
from tests.storage import samples

N_LAYERS = 6
SETTINGS = {"purpose": "synthetic search"}


class SyntheticEvaluator:
    """Each sub-layer left out costs acceptance of its own; attention is cheap to leave out, MLPs save more time."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.evaluated: list[SkipSet] = []

    def cost(self, skip: SkipSet) -> float:
        return 1 - 0.05 * len(skip.attention) - 0.1 * len(skip.mlp)

    def acceptance(self, skip: SkipSet) -> float:
        return 1 - sum(0.03 * layer for layer in skip.attention) - sum(0.02 * (9 - layer) for layer in skip.mlp)

    def evaluate(
        self, skip: SkipSet, source: str, to_beat: float = 0.0, profile_depths: bool = True
    ) -> DrafterCandidate:
        time.sleep(self.seconds)
        self.evaluated.append(skip)
        return DrafterCandidate(
            skip=skip,
            source=source,
            acceptance=self.acceptance(skip),
            cost=self.cost(skip),
            step_ms=self.cost(skip),
            n_tokens=100,
            seconds=0.01,
        )


def main(database: str, study_url: str, trials: str) -> None:
    with open_repository(database) as repository:
        calibration = repository.calibration(samples.model(), samples.device(), "float32", SETTINGS)
        search = DrafterSearch(
            SyntheticEvaluator(seconds=0.02),
            N_LAYERS,
            SearchBudget(trials=int(trials), seconds=1e9, patience=10**6),
            repository.candidates(calibration.calibration_id),
            lambda candidate: repository.save_candidate(calibration.calibration_id, candidate),
            study_url,
            calibration.calibration_id,
        )
        print("ready", flush=True)
        search.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
