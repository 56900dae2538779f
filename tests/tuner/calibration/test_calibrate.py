"""A calibration from end to end on a tiny model: what it leaves behind, and that an interruption changes none of it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from casspec.runtime.loading.device import device_fingerprint
from casspec.runtime.loading.fingerprint import model_fingerprint
from casspec.runtime.model.target import TargetModel
from casspec.storage import open_repository
from casspec.storage.repository import ARTIFACT_KIND, Repository
from casspec.storage.schema import CascadeProfile
from casspec.tuner.calibration.attempt import finished as finished_calibration
from casspec.tuner.calibration.attempt import reuse_measurements, take_over
from casspec.tuner.calibration.calibrate import STAGES
from casspec.tuner.calibration.calibrate import calibrate as run
from casspec.tuner.calibration.publish import MATRIX_NAME
from casspec.tuner.cascade.forecast import Selection
from casspec.tuner.cascade.stage import SELECTION_KIND
from casspec.tuner.external_databases import external_databases
from casspec.tuner.mlflow_mirror.mirror import CALIBRATION_TAG, PARENT_TAG, PART_TAG, MLflowMirror
from casspec.tuner.mlflow_mirror.registry import PROFILE_TAG
from casspec.tuner.replay.overhead import OVERHEAD_KIND, Overheads
from casspec.tuner.search.plan_spec import PlanSpec
from casspec.tuner.search.stage import StoredSearch
from tests.tuner.small_calibration import SETTINGS, StageLog, begun, calibrate, small_target, tuned_by_nobody

N_RECORDINGS = 2 * SETTINGS.record.prompts


def rows(repository: Repository, target: TargetModel) -> dict[str, Any]:
    """What the calibration left in the store, by kind."""
    device = device_fingerprint("cpu")
    calibration_id = repository.calibration(
        model_fingerprint(target), device, "float32", SETTINGS.model_dump(mode="json")
    ).calibration_id
    return {
        "key": calibration_id,
        "candidates": [PlanSpec.of(candidate) for candidate in repository.candidates(calibration_id)],
        "recordings": sorted(
            name for name in repository.documents(calibration_id, ARTIFACT_KIND) if name != MATRIX_NAME
        ),
        "samples": [sample.point for sample in repository.latency_samples(calibration_id)],
        "profiles": [profile.content_hash() for profile in repository.profiles()],
    }


def check_complete(database: Path) -> None:
    with open_repository(str(database)) as repository:
        found = rows(repository, small_target())
    assert len(found["candidates"]) == len(set(found["candidates"])) == SETTINGS.search.trials
    assert len(found["recordings"]) == len(set(found["recordings"])) == N_RECORDINGS
    assert len(found["samples"]) == len(set(found["samples"])) > 0
    assert len(found["profiles"]) == 1
    tracker = MLflowMirror(external_databases(str(database)))
    (parent,) = tracker._search(f"tags.`{CALIBRATION_TAG}` = '{found['key']}'")
    children = tracker._search(f"tags.`{PARENT_TAG}` = '{parent.info.run_id}'")
    assert sum(run.data.tags[PART_TAG].startswith("trial") for run in children) == SETTINGS.search.trials
    assert {run.data.tags[PART_TAG] for run in children} >= {"latency", "replay"}
    assert Counter(run.info.status for run in [parent, *children]) == {"FINISHED": SETTINGS.search.trials + 3}
    (version,) = tracker._client.search_model_versions(f"tags.`{PROFILE_TAG}` = '{found['profiles'][0]}'")
    assert tracker._client.get_model_version_by_alias(version.name, "candidate").version == version.version


def test_an_interrupted_calibration_resumes_and_then_answers_from_the_store(tmp_path, with_mirror) -> None:
    database = with_mirror(tmp_path / "casspec.db")

    class Interrupted(BaseException):
        pass

    for where in (("record", 4), ("search", 7), ("cascade", 1), ("publish", 5)):

        def interrupt(stage: str, done: int, where: tuple[str, int] = where) -> None:
            if (stage, done) == where:
                raise Interrupted

        with pytest.raises(Interrupted):
            calibrate(str(database), StageLog(interrupt))
    log = StageLog()
    profile = calibrate(str(database), log)
    assert log.entered == list(STAGES)
    check_complete(database)

    target = small_target()
    assert profile.suite == "small"
    assert [drafter.kind for drafter in profile.drafters][-2:] == ["token-recycling", "prompt-lookup"]
    assert profile.drafters[0].kind == "self"
    assert profile.settings("layer-sparse")["n_tokens"] >= 1
    assert profile.settings("prompt-lookup") == {"n_tokens": 4}
    keys = {cell.key.rpartition(":")[0] for prior in profile.acceptance for cell in prior.cells}
    assert keys == {"retrieval", *(drafter.name for drafter in profile.drafters if drafter.kind == "self")}
    with open_repository(str(database)) as repository:
        found = finished_calibration(repository, target, SETTINGS)
        assert found is not None
        assert found[1] == profile
        assert finished_calibration(repository, target, SETTINGS.model_copy(update={"seed": 1})) is None
        assert repository.artifact(profile.artifacts[0].sha256)


def test_a_killed_calibration_resumes_with_exact_rows(tmp_path, with_mirror) -> None:
    database = with_mirror(tmp_path / "casspec.db")
    command = [sys.executable, "-m", "tests.tuner.small_calibration", str(database)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line == "search 9\n":
            break
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()
    calibrate(str(database), StageLog())
    check_complete(database)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, with_mirror) -> tuple[Path, CascadeProfile]:
    """A database with one finished calibration, and its profile."""
    database = with_mirror(tmp_path_factory.mktemp("finished") / "casspec.db")
    return database, calibrate(str(database), StageLog())


def test_searching_on_takes_over_what_was_measured(finished) -> None:
    database, old = finished
    more = SETTINGS.changed({"search": {"trials": SETTINGS.search.trials + 3}})
    measured: list[tuple[str, int]] = []
    log = StageLog(lambda stage, done: measured.append((stage, done)))
    with open_repository(str(database)) as repository:
        source, settings = repository.calibration_of(old.profile_id)
        assert settings == SETTINGS.model_dump(mode="json")
        context = begun(repository, str(database), more)
        take_over(repository, source, context.calibration_id)
        new = run(context, log, tune=tuned_by_nobody)
        calibration_id, _ = repository.calibration_of(new.content_hash())
        assert calibration_id != source
        assert new.latency == old.latency
        assert new.artifacts == old.artifacts  # the matrix comes from the same recordings
        assert len(repository.candidates(calibration_id)) == SETTINGS.search.trials + 3
        assert StoredSearch(repository, calibration_id).taken_over() == SETTINGS.search.trials
    assert [done for stage, done in measured if stage == "search"] == [13, 14, 15]
    assert not [done for stage, done in measured if stage == "profile"]


def test_another_choice_of_the_cascade_measures_nothing_again(finished) -> None:
    database, usual = finished
    measured: list[str] = []
    asked = SETTINGS.changed({"cascade": {"per_task": True, "max_drafters": 1}})
    with open_repository(str(database)) as repository:
        context = begun(repository, str(database), asked)
        reuse_measurements(context)
        profile = run(context, StageLog(lambda stage, done: measured.append(stage)), tune=tuned_by_nobody)
        assert run(context, StageLog(), tune=tuned_by_nobody) == profile
        calibration_id, _ = repository.calibration_of(profile.content_hash())
        assert StoredSearch(repository, calibration_id).taken_over() == 0  # it is the search of the usual one
    assert not {"profile", "search"} & set(measured)
    assert profile.latency == usual.latency
    assert profile.artifacts == usual.artifacts
    assert set(profile.task_gains) == {"count"}  # of the other task one prompt was recorded
    assert usual.task_gains == {}


def test_a_profile_predicts_by_mode_task_and_batch(finished) -> None:
    _, profile = finished
    assert set(profile.predicted_speedup) == set(profile.predicted_by_task) == {"greedy", "sample"}
    assert {task for tasks in profile.predicted_by_task.values() for task in tasks} == {"count", "skip"}
    assert [prediction.batch for prediction in profile.predicted_by_batch] == [1, 2, 4, 8, 16, 32]
    assert [prediction.verified for prediction in profile.predicted_by_batch] == [True] + [False] * 5
    told = [prediction.latencies == "extrapolated" for prediction in profile.predicted_by_batch]
    assert told == [False, False, True, True, True, True], "batches of up to 2 were measured"
    assert profile.predicted_by_batch[0].decision == profile.decision
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


def test_a_profile_deleted_and_calibrated_again_is_mirrored_beside_the_old_runs(tmp_path, with_mirror) -> None:
    database = with_mirror(tmp_path / "casspec.db")
    first = calibrate(str(database), StageLog())
    with open_repository(str(database)) as repository:
        repository.delete_profile(first.profile_id)
    calibrate(str(database), StageLog())
    check_complete(database)
