"""Which calibration is meant, and what one takes over from another."""

from __future__ import annotations

from pathlib import Path

from casspec.storage import open_repository
from casspec.tuner.calibration.attempt import finished as finished_calibration
from casspec.tuner.calibration.attempt import reuse_measurements, take_over
from casspec.tuner.calibration.calibrate import calibrate as run
from casspec.tuner.search.stage import StoredSearch
from tests.tuner.small_calibration import SETTINGS, StageLog, begun, small_target, tuned_by_nobody


def test_the_same_inputs_are_the_same_calibration_until_another_attempt_is_forced(tmp_path: Path) -> None:
    database = str(tmp_path / "casspec.db")
    with open_repository(database) as repository:
        first = begun(repository, database).calibration_id
        assert begun(repository, database).calibration_id == first
        assert begun(repository, database, SETTINGS.model_copy(update={"seed": 1})).calibration_id != first
        forced = begun(repository, database, force=True).calibration_id
        assert forced != first
        assert begun(repository, database).calibration_id == forced, "an interrupted attempt goes on"
        assert finished_calibration(repository, small_target(), SETTINGS) is None


def test_nothing_is_taken_over_where_nothing_was_measured(tmp_path: Path) -> None:
    database = str(tmp_path / "casspec.db")
    with open_repository(database) as repository:
        context = begun(repository, database, SETTINGS.changed({"cascade": {"max_drafters": 1}}))
        reuse_measurements(context)
        assert repository.latency_samples(context.calibration_id) == []
        assert repository.candidates(context.calibration_id) == []


def test_searching_on_takes_over_what_was_measured(finished) -> None:
    database, old = finished
    more = SETTINGS.changed({"search": {"trials": SETTINGS.search.trials + 3}})
    measured: list[tuple[str, int]] = []
    log = StageLog(lambda stage, done: measured.append((stage, done)))
    with open_repository(str(database)) as repository:
        source, settings = repository.calibration_of(old.profile_id)
        assert settings == SETTINGS.stored()
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
