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
from casspec.storage.schema import RECYCLING_MATRIX
from casspec.tuner.calibration.attempt import finished as finished_calibration
from casspec.tuner.calibration.calibrate import STAGES
from casspec.tuner.external_databases import external_databases
from casspec.tuner.mlflow_mirror.mirror import CALIBRATION_TAG, PARENT_TAG, PART_TAG, MLflowMirror
from casspec.tuner.mlflow_mirror.registry import PROFILE_TAG
from casspec.tuner.search.plan_spec import PlanSpec
from tests.tuner.small_calibration import SETTINGS, StageLog, calibrate, small_target

N_RECORDINGS = 2 * SETTINGS.record.prompts


def rows(repository: Repository, target: TargetModel) -> dict[str, Any]:
    """What the calibration left in the store, by kind."""
    device = device_fingerprint("cpu")
    calibration_id = repository.calibration(
        model_fingerprint(target), device, "float32", SETTINGS.stored()
    ).calibration_id
    return {
        "key": calibration_id,
        "candidates": [PlanSpec.of(candidate) for candidate in repository.candidates(calibration_id)],
        "recordings": sorted(
            name for name in repository.documents(calibration_id, ARTIFACT_KIND) if name != RECYCLING_MATRIX
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


def test_a_profile_deleted_and_calibrated_again_is_mirrored_beside_the_old_runs(tmp_path, with_mirror) -> None:
    database = with_mirror(tmp_path / "casspec.db")
    first = calibrate(str(database), StageLog())
    with open_repository(str(database)) as repository:
        repository.delete_profile(first.profile_id)
    calibrate(str(database), StageLog())
    check_complete(database)
