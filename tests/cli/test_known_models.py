from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from casspec.known_models import recall, remember
from casspec.runtime.device import device_fingerprint
from casspec.storage import open_repository
from casspec.tuner.settings import CalibrationSettings
from casspec.tuner.suites import load_suite
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


ANSWER = """
import sys
from casspec.cli.main import main
code = main(sys.argv[1:])
print(code, "torch" in sys.modules)
"""


def test_a_calibrated_model_is_answered_from_the_store_without_torch(model: Path, tmp_path: Path) -> None:
    questions, database = tmp_path / "questions.jsonl", str(tmp_path / "casspec.db")
    questions.write_text("".join(f'{{"question_id": {n}, "category": "a", "turns": ["Why {n}?"]}}\n' for n in range(4)))
    remember(str(model), "auto", samples.model(), "float32")
    suite = load_suite(str(questions))
    settings = CalibrationSettings(suite=str(questions), suite_sha256=suite.content_hash())
    device = device_fingerprint("cpu", threads=2)
    with open_repository(database) as repository:
        key = repository.calibration(
            samples.model(), device, "float32", settings.model_dump(mode="json")
        ).calibration_id
        profile = samples.profile(model=samples.model(), device=device, dtype="float32", artifacts=())
        repository.save_profile(key, profile)
        repository.finish(key)

    arguments = ["calibrate", str(model), "--suite", str(questions), "--threads", "2", "--no-bench"]
    command = [sys.executable, "-c", ANSWER, *arguments, "--storage", database]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["0", "False"], told.stderr
    assert "answered from the store" in told.stderr
    assert profile.profile_id in told.stderr
