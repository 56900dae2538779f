from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from casspec.cli.calibrate import _answer, _settings
from casspec.known_models import recall, remember
from casspec.runtime.loading.device import device_fingerprint
from casspec.storage import open_repository
from casspec.tuner.external_databases import MIRRORED_BENCH
from casspec.tuner.settings import CalibrationSettings
from casspec.tuner.suites.load import load_suite
from tests.storage import samples


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    directory = tmp_path / "model"
    directory.mkdir()
    (directory / "config.json").write_text("{}")
    return directory


def test_a_fingerprint_is_known_until_a_file_changes(model: Path) -> None:
    assert recall(str(model), "auto") is None
    remember(str(model), "auto", samples.model(), "bfloat16")
    assert recall(str(model), "auto") == (samples.model(), "bfloat16")
    assert recall(str(model), "float32") is None
    os.utime(model / "config.json", ns=(1, 1))
    assert recall(str(model), "auto") is None


def test_a_damaged_memory_or_a_name_on_the_hub_is_simply_not_known(model: Path, tmp_path: Path) -> None:
    remember("some/name", "auto", samples.model(), "bfloat16")
    assert recall("some/name", "auto") is None
    remember(str(model), "auto", samples.model(), "bfloat16")
    (tmp_path / "cache" / "casspec" / "fingerprints.json").write_text("[")
    assert recall(str(model), "auto") is None


class Calibrated(NamedTuple):
    database: str
    calibration_id: str
    settings: CalibrationSettings
    arguments: list[str]


ANSWER = """
import sys
from casspec.cli.main import main
code = main(sys.argv[1:])
print(code, "torch" in sys.modules)
"""


@pytest.fixture
def calibrated(model: Path, tmp_path: Path) -> Calibrated:
    """A finished calibration of the model; its benchmark is saved, and MLflow was not told of it."""
    questions, database = tmp_path / "questions.jsonl", str(tmp_path / "casspec.db")
    questions.write_text("".join(f'{{"question_id": {n}, "category": "a", "turns": ["Why {n}?"]}}\n' for n in range(4)))
    remember(str(model), "auto", samples.model(), "float32")
    settings = _settings(str(questions), load_suite(str(questions)), 0, False, {})
    device = device_fingerprint("cpu", threads=2)
    with open_repository(database) as repository:
        begun = repository.calibration(samples.model(), device, "float32", settings.model_dump(mode="json"))
        profile = samples.profile(model=samples.model(), device=device, dtype="float32", artifacts=())
        repository.save_profile(begun.calibration_id, profile)
        repository.save_bench(profile.profile_id, samples.bench_report())
        repository.finish(begun.calibration_id)
    arguments = [str(model), "--suite", str(questions), "--threads", "2", "--storage", database]
    return Calibrated(database, begun.calibration_id, settings, arguments)


def test_a_calibrated_model_is_answered_from_the_store_without_torch(calibrated: Calibrated) -> None:
    with open_repository(calibrated.database) as repository:
        repository.put_document(calibrated.calibration_id, MIRRORED_BENCH, "some", {"mirrored": True})
    command = [sys.executable, "-c", ANSWER, "calibrate", *calibrated.arguments]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    assert told.stdout.split()[-2:] == ["0", "False"], told.stderr
    assert "answered from the store" in told.stderr
    assert "speedup over autoregressive decoding" in told.stdout


def test_a_benchmark_that_mlflow_was_not_told_of_is_no_answer_yet(model: Path, calibrated: Calibrated) -> None:
    with open_repository(calibrated.database) as repository:
        asked = repository, str(model), ("cpu", 2), "auto", calibrated.settings
        assert _answer(*asked, bench=True) is None
        found = _answer(*asked, bench=False)
        assert found is not None
        assert found[1] is None
        repository.put_document(calibrated.calibration_id, MIRRORED_BENCH, "some", {"mirrored": True})
        found = _answer(*asked, bench=True)
        assert found is not None
        assert found[1] == samples.bench_report()
