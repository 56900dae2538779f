"""The profile that a calibration publishes."""

from __future__ import annotations

import pytest

from casspec.profiler.progress import silent
from casspec.storage import open_repository
from casspec.storage.summaries.aliases import CANDIDATE
from casspec.tuner.calibration import publish
from casspec.tuner.calibration_history import CalibrationHistory
from casspec.tuner.cascade.forecast import Selection
from casspec.tuner.cascade.stage import SELECTION_KIND
from casspec.tuner.mlflow_mirror import telling
from casspec.tuner.replay.overhead import OVERHEAD_KIND, Overheads
from tests.tuner.small_calibration import begun


def test_a_profile_predicts_by_mode_task_and_batch(finished) -> None:
    _, profile = finished
    assert set(profile.predicted_speedup) == set(profile.predicted_by_task) == {"greedy", "sample"}
    assert {task for tasks in profile.predicted_by_task.values() for task in tasks} == {"count", "skip"}
    assert [prediction.batch for prediction in profile.predicted_by_batch] == [1, 2, 4, 8, 16, 32]
    assert [prediction.verified for prediction in profile.predicted_by_batch] == [True] + [False] * 5
    told = [prediction.latencies == "extrapolated" for prediction in profile.predicted_by_batch]
    assert told == [False, False, True, True, True, True], "batches of up to 2 were measured"
    assert profile.predicted_by_batch[0].decision == profile.decision
    assert set(profile.predicted_of_others) == set(profile.predicted_speedup)
    assert profile.predicted_by_batch[0].speedup == profile.predicted_speedup
    assert all(
        low <= profile.predicted_speedup[mode] <= high for mode, (low, high) in profile.predicted_interval.items()
    )


def test_dytc_is_told_what_reviews_cost_here(finished) -> None:
    database, profile = finished
    with open_repository(str(database)) as repository:
        calibration_id, _ = repository.calibration_of(profile.content_hash())
        overheads = Overheads.model_validate(repository.get_document(calibration_id, OVERHEAD_KIND, "all"))
        selection = Selection.model_validate(repository.get_document(calibration_id, SELECTION_KIND, "all"))
    measured = [overheads.of("dytc", mode).draft_ms for mode in ("greedy", "sample")]
    assert selection.parameters["review_overhead_ms"] == pytest.approx(sum(measured) / 2)


def test_the_mirror_is_told_that_the_new_profile_is_the_candidate(finished, monkeypatch: pytest.MonkeyPatch) -> None:
    database, profile = finished
    told: list[CalibrationHistory] = []

    class Mirror:
        def __init__(self, databases: object) -> None: ...

        def mirror(self, history: CalibrationHistory, progress: object) -> None:
            told.append(history)

    monkeypatch.setattr(telling, "MLflowMirror", Mirror)
    with open_repository(str(database)) as repository:
        context = begun(repository, str(database))
        publish.mirror(context, profile, silent)
    (history,) = told
    assert history.aliases[CANDIDATE] == profile.content_hash()
    assert history.settings == context.settings.model_dump(mode="json")
    assert history.candidates
