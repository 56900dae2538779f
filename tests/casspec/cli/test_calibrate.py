"""What a user sees of calibrate, tune and ui before anything is measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from casspec.cli.main import main


@pytest.mark.parametrize("command", ["calibrate", "tune", "ui"])
def test_help_names_the_options(command, capsys) -> None:
    assert main([command, "--help"]) == 0
    assert "--storage" in capsys.readouterr().out


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
