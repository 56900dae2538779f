"""Settings as they come back from the store, whichever kind of calibration was stored with them."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from casspec.storage.errors import StorageError
from casspec.tuner.settings import (
    QUICK,
    CalibrationSettings,
    MethodTuningSettings,
    RunTuningSettings,
    unchanged_choice,
)

SUITE = {"suite": "reference", "suite_sha256": "f" * 64}
USUAL = CalibrationSettings(**SUITE)


def test_stored_settings_come_back_whether_a_calibration_searched_or_tuned_methods() -> None:
    searched = USUAL.changed({"search": {"trials": 12}})
    asked = MethodTuningSettings(profile_hash="a" * 64, methods=("suffix",))
    tuned = RunTuningSettings(**searched.model_dump(), tune=asked)
    for stored in (searched, tuned):
        assert CalibrationSettings.of_stored(stored.model_dump(mode="json")) == searched


def test_settings_of_an_earlier_release_are_refused_in_one_line() -> None:
    with pytest.raises(StorageError, match="earlier release") as refusal:
        CalibrationSettings.of_stored(SUITE | {"trials": 12, "search_seconds": 30.0})
    assert "\n" not in str(refusal.value)


def test_values_of_no_meaning_are_refused() -> None:
    with pytest.raises(ValidationError, match="modes"):
        CalibrationSettings(**SUITE, record={"modes": ("beam",)})
    with pytest.raises(ValidationError, match="trails"):
        CalibrationSettings(**SUITE, search={"trails": 3})


@pytest.mark.parametrize(("stage", "name"), [(stage, name) for stage in QUICK for name in QUICK[stage]])
def test_a_quick_calibration_asks_for_less_of_everything_it_changes(stage: str, name: str) -> None:
    quick = USUAL.changed(QUICK)
    less, usual = getattr(getattr(quick, stage), name), getattr(getattr(USUAL, stage), name)
    assert less < usual
    assert less == () or less > 0


@pytest.mark.parametrize(("name", "value"), [("max_drafters", 1), ("max_extra_bytes", 1000), ("per_task", True)])
def test_another_choice_of_the_cascade_is_another_calibration_over_the_same_measurements(name: str, value: int) -> None:
    changed = USUAL.changed({"cascade": {name: value}})
    assert changed.content_hash() != USUAL.content_hash()
    assert unchanged_choice(changed) == USUAL
    assert unchanged_choice(changed.changed({"search": {"trials": 3}})) != USUAL


def test_the_lean_backend_leaves_stored_settings_as_they_were_before_there_were_others() -> None:
    usual = CalibrationSettings(suite="a", suite_sha256="b")
    assert "backend" not in usual.stored()
    assert CalibrationSettings.of_stored(usual.stored()) == usual
    assert "forwards" not in usual.stored()
    captured = usual.model_copy(update={"forwards": "graphs"})
    assert captured.stored()["forwards"] == "graphs"
    assert CalibrationSettings.of_stored(captured.stored()) == captured
    generic = usual.model_copy(update={"backend": "generic"})
    assert generic.stored()["backend"] == "generic"
    assert CalibrationSettings.of_stored(generic.stored()) == generic
