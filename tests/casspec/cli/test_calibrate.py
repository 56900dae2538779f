"""`casspec calibrate`: what its options ask for, what is refused before anything is measured, and answers from the store."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from casspec.cli.calibrate import SECTIONS, _answer, _settings
from casspec.cli.calibrate import command as calibrate
from casspec.cli.main import main
from casspec.known_models import KnownModel, remember
from casspec.runtime.loading.device import device_fingerprint
from casspec.storage import open_repository
from casspec.storage.errors import CalibrationNotFound
from casspec.tuner.external_databases import MIRRORED_BENCH, external_databases
from casspec.tuner.mlflow_mirror.owed import Debt, Owed
from casspec.tuner.report_page.reproduce import OPTIONS
from casspec.tuner.settings import QUICK, CalibrationSettings
from casspec.tuner.suites.load import load_suite
from casspec.tuner.suites.prompts import Suite
from tests.storage import samples

ANSWER = """
import sys
from casspec.cli.main import main
code = main(sys.argv[1:])
print(code, "torch" in sys.modules)
"""

SUITE = Suite(name="empty", prompts=())


@pytest.mark.parametrize("command", ["calibrate", "tune", "ui"])
def test_help_names_the_options(command, capsys) -> None:
    assert main([command, "--help"]) == 0
    assert "--storage" in capsys.readouterr().out


def test_help_groups_options_by_the_stage_whose_settings_they_are(capsys) -> None:
    assert main(["calibrate", "--help"]) == 0
    text = capsys.readouterr().out
    places = [text.index(f"\n{heading}:\n") for heading in ("Options", *SECTIONS)]
    assert places == sorted(places)
    stage_of = {option: stage for (stage, _), option in OPTIONS.items()}
    for parameter in calibrate.params:
        stage = stage_of.get(parameter.opts[0])
        assert stage is None or parameter.name in SECTIONS[stage.capitalize()]


def test_a_dry_run_tells_every_stage_and_stores_nothing(model: Path, tmp_path: Path, capsys) -> None:
    questions, database = tmp_path / "questions.jsonl", str(tmp_path / "casspec.db")
    questions.write_text("".join(f'{{"question_id": {n}, "category": "a", "turns": ["Why {n}?"]}}\n' for n in range(4)))
    asked = ["calibrate", str(model), "--suite", str(questions), "--storage", database, "--dry-run"]
    remember(str(model), "auto", "auto", KnownModel(samples.model(), "float32", "lean", has_chat_template=False))
    assert main([*asked, "--trials", "7", "--per-task"]) == 0
    printed = capsys.readouterr()
    stages = [line.split()[0] for line in printed.out.splitlines()]
    assert stages == ["profile", "record", "search", "cascade", "publish", "bench"]
    assert "at most 7 drafters" in printed.out
    assert "2 of the 2 prompts of the tuning half" in printed.out
    assert "nothing was measured" in printed.err
    with open_repository(database) as repository, pytest.raises(CalibrationNotFound):
        repository.stored_calibration("latest")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["calibrate", "--suite", "no-such-file.jsonl"], "no-such-file.jsonl"),
        (["calibrate", "no/such/model"], "no/such/model"),
        (["calibrate", "--trials", "0"], "--trials"),
        (["tune"], "no profile is stored"),
        (["tune", "abcdef"], "no profile 'abcdef'"),
        (["tune", "--join", "latest"], "no calibration is under way"),
        (["tune", "--join", "abcdef"], "no calibration 'abcdef'"),
        (["tune", "--join", "latest", "--trials", "3"], "leave out trials"),
        (["tune", "--model", "there"], "--model says where the model of --join lies"),
        (["calibrate", "--workers", "0"], "--workers"),
        (["ui"], "run casspec calibrate"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing_running(arguments, message, tmp_path: Path, capsys) -> None:
    assert main([*arguments, "--storage", str(tmp_path / "casspec.db")]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1
    assert message in error[0]


@pytest.mark.parametrize("command", ["calibrate", "bench"])
def test_a_misspelt_model_shows_before_a_suite_is_listed_which_may_take_minutes(
    command, tmp_path: Path, capsys, monkeypatch
) -> None:
    monkeypatch.setattr("casspec.tuner.suites.load.load_suite", lambda name: pytest.fail("a suite was loaded"))
    assert main([command, "no/such/model", "--storage", str(tmp_path / "casspec.db")]) == 2
    assert "no/such/model" in capsys.readouterr().err


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    directory = tmp_path / "model"
    directory.mkdir()
    (directory / "config.json").write_text("{}")
    return directory


class Calibrated(NamedTuple):
    database: str
    calibration_id: str
    settings: CalibrationSettings
    arguments: list[str]


@pytest.fixture
def calibrated(model: Path, tmp_path: Path) -> Calibrated:
    """A finished calibration of the model; its benchmark is saved, and MLflow was not told of it."""
    questions, database = tmp_path / "questions.jsonl", str(tmp_path / "casspec.db")
    questions.write_text("".join(f'{{"question_id": {n}, "category": "a", "turns": ["Why {n}?"]}}\n' for n in range(4)))
    remember(str(model), "auto", "auto", KnownModel(samples.model(), "float32", "lean", has_chat_template=False))
    settings = _settings(str(questions), load_suite(str(questions)), 0, False, {})
    device = device_fingerprint("cpu", threads=2)
    with open_repository(database) as repository:
        begun = repository.calibration(samples.model(), device, "float32", settings.stored())
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


def test_an_answer_from_the_store_is_when_mlflow_is_told_what_it_is_owed(
    calibrated: Calibrated, monkeypatch: pytest.MonkeyPatch
) -> None:
    from casspec.tuner.mlflow_mirror import telling

    made_up: list[Path] = []
    monkeypatch.setattr(telling, "make_up", lambda repository, databases: made_up.append(databases.owed))
    databases = external_databases(calibrated.database)
    for owes in (False, True):
        if owes:
            Owed(databases.owed).add(Debt("a" * 64))
        assert main(["calibrate", *calibrated.arguments, "--no-bench"]) == 0
    assert made_up == [databases.owed]


def test_a_dry_run_knows_whether_the_command_would_answer_from_the_store(calibrated: Calibrated, capsys) -> None:
    assert main(["calibrate", *calibrated.arguments, "--dry-run"]) == 0
    assert "nothing was measured" in capsys.readouterr().err, "MLflow was not told of its benchmark"
    assert main(["calibrate", *calibrated.arguments, "--dry-run", "--no-bench"]) == 0
    told = capsys.readouterr().err
    assert "the command would answer from there" in told
    assert "--force" not in told


def test_a_benchmark_that_mlflow_was_not_told_of_is_no_answer_yet(model: Path, calibrated: Calibrated) -> None:
    with open_repository(calibrated.database) as repository:
        known = KnownModel(samples.model(), "float32", "lean", has_chat_template=False)
        asked = repository, known, ("cpu", 2), calibrated.settings
        assert _answer(*asked, bench=True, compiles=True) is None
        found = _answer(*asked, bench=False, compiles=True)
        assert found is not None
        assert found[1] is None
        repository.put_document(calibrated.calibration_id, MIRRORED_BENCH, "some", {"mirrored": True})
        found = _answer(*asked, bench=True, compiles=True)
        assert found is not None
        assert found[1] == samples.bench_report()


def test_quick_asks_for_less_of_everything_and_yields_to_what_is_named() -> None:
    usual, quick = (
        _settings("empty", SUITE, 0, quick=quick, changes={"search": {"trials": None}}) for quick in (False, True)
    )
    assert usual == CalibrationSettings(suite="empty", suite_sha256=SUITE.content_hash())
    for stage, values in QUICK.items():
        assert all(getattr(getattr(quick, stage), name) < getattr(getattr(usual, stage), name) for name in values)
    assert _settings("empty", SUITE, 0, quick=True, changes={"search": {"trials": 7}}).search.trials == 7


def test_limits_of_the_cascade_are_settings() -> None:
    asked = {"max_extra_bytes": 0, "max_drafters": 1, "per_task": True}
    settings = _settings("empty", SUITE, 0, quick=False, changes={"cascade": asked})
    chosen = settings.cascade
    assert (chosen.max_extra_bytes, chosen.max_drafters, chosen.per_task) == (0, 1, True)


def test_a_page_repeats_every_option_that_is_a_setting() -> None:
    circumstances = {
        "--device",
        "--dtype",
        "--backend",
        "--compile",
        "--adapter",
        "--threads",
        "--quick",
        "--dry-run",
        "--workers",
        "--bench",
        "--force",
        "--storage",
        "--strict",
        "--help",
    }
    options = {parameter.opts[0] for parameter in calibrate.params if parameter.opts[0].startswith("--")}
    assert {"--suite", "--seed", *OPTIONS.values()} == options - circumstances
    for stage, name in OPTIONS:
        assert name in CalibrationSettings.model_fields[stage].annotation.model_fields
