"""Settings as they come back from the store, whichever kind of calibration was stored with them."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from casspec.tuner.settings import CASCADE_SETTINGS, QUICK, CalibrationSettings, RunTuningSettings

SUITE = {"suite": "reference", "suite_sha256": "f" * 64}


def test_stored_settings_come_back_whether_a_calibration_searched_or_tuned_methods() -> None:
    searched = CalibrationSettings(**SUITE, trials=12)
    tuned = RunTuningSettings(**SUITE, trials=12, tuned_from="a" * 64, tuned_methods=("suffix",))
    for stored in (searched, tuned):
        assert CalibrationSettings.of_stored(stored.model_dump(mode="json")) == searched


def test_settings_without_a_suite_and_with_values_of_no_meaning_are_refused() -> None:
    with pytest.raises(ValidationError, match="suite"):
        CalibrationSettings.of_stored({"trials": 12})
    with pytest.raises(ValidationError, match="modes"):
        CalibrationSettings(**SUITE, modes=("beam",))


@pytest.mark.parametrize("field", [name for name in QUICK if QUICK[name] != 1])
def test_a_quick_calibration_asks_for_less_of_everything_it_changes(field: str) -> None:
    usual = CalibrationSettings(**SUITE)
    quick = CalibrationSettings(**SUITE, **QUICK)
    assert 0 < getattr(quick, field) < getattr(usual, field)


def test_every_setting_of_the_cascade_makes_it_another_calibration() -> None:
    usual = CalibrationSettings(**SUITE)
    for name, value in zip(CASCADE_SETTINGS, (1, 1000, True), strict=True):
        changed = CalibrationSettings(**SUITE, **{name: value})
        assert changed.content_hash() != usual.content_hash(), name
