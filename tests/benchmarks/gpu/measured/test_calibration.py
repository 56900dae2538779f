"""A small calibration, and what is kept of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.gpu.measured import calibration
from benchmarks.gpu.measured.calibration import calibrate_quickly
from benchmarks.gpu.stages import Work
from casspec.runtime.decode import Decoder
from casspec.runtime.model.target import TargetModel
from casspec.tuner.calibration.calibrate import STAGES
from tests.tuner.small_calibration import SUITE, small_target

CHANGES = {
    "profile": {"seconds": 0.05, "rounds": 1, "max_batch": 2},
    "record": {"prompts": 2, "tokens": 8},
    "search": {"recordings": 1, "trials": 4, "seconds": 1e6},
    "cascade": {"probed_steps": 2, "tuning_seconds": 0.1},
}


@pytest.mark.usefixtures("without_mlflow")
def test_its_profile_decodes_and_its_parts_are_timed(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://nowhere.invalid")
    target: TargetModel = small_target()
    loaded = calibrate_quickly(work, target, SUITE, CHANGES)
    assert [row["part"] for row in work.outcome.rows] == list(STAGES)
    assert all(row["seconds"] > 0 for row in work.outcome.rows)
    assert work.outcome.notes[0].startswith("decision: ")
    assert len(Decoder(target, loaded, "dytc").generate([1, 2, 3], 8).token_ids) == 8
    assert os.environ["MLFLOW_TRACKING_URI"] == "http://nowhere.invalid"


def test_its_store_is_thrown_away(work: Work, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def failing(*_: object, **__: object) -> None:
        raise ValueError("no latency")

    monkeypatch.setattr(calibration, "calibrate", failing)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    with pytest.raises(ValueError, match="no latency"):
        calibrate_quickly(work, small_target(), SUITE, CHANGES)
    assert list(tmp_path.iterdir()) == []
