"""`casspec report`: where the page goes, and that the commands it names lead to the same calibration."""

from __future__ import annotations

import shlex
from pathlib import Path

import click
import pytest

from casspec.cli.calibrate import _settings
from casspec.cli.calibrate import command as calibrate
from casspec.cli.main import main
from casspec.cli.tune import SECONDS_PER_METHOD
from casspec.cli.tune import command as tune
from casspec.storage import open_repository
from casspec.tuner.calibration_history import CalibrationHistory
from casspec.tuner.report_page.parts import Commands
from casspec.tuner.report_page.reproduce import reproduction
from casspec.tuner.settings import MethodTuningSettings, RunTuningSettings
from casspec.tuner.suites.prompts import Suite
from tests.storage import samples
from tests.tuner.report_page.pages import profile


@pytest.fixture
def storage(tmp_path: Path) -> str:
    storage = str(tmp_path / "store.db")
    with open_repository(storage) as repository:
        repository.save_profile(None, profile())
    return storage


def test_the_page_goes_where_it_is_told(storage: str, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    expected = f"casspec-{profile().profile_id}.html"
    assert main(["report", "--storage", storage]) == 0
    assert expected in capsys.readouterr().err
    assert main(["report", profile().profile_id, "--output", "mine.html", "--storage", storage]) == 0
    assert (tmp_path / "mine.html").read_text("utf-8") == (tmp_path / expected).read_text("utf-8")
    capsys.readouterr()
    assert main(["report", "--output", "-", "--storage", storage]) == 0
    assert capsys.readouterr().out.startswith("<!doctype html>")


def test_a_place_that_is_not_there_is_one_line(storage: str, tmp_path: Path, capsys) -> None:
    assert main(["report", "--output", str(tmp_path / "missing" / "page.html"), "--storage", storage]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["report", "ffff", "--storage", storage]) == 2
    assert "casspec profiles list" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options", [["--methods", "suffix,dytc"], ["--methods", "suffix", "--seconds-per-method", "7"]]
)
def test_the_named_commands_tune_methods_as_they_were_tuned(options: list[str]) -> None:
    asked = tune.make_context("tune", list(options)).params
    settings = RunTuningSettings(
        suite="reference",
        suite_sha256="",
        tune=MethodTuningSettings(
            profile_hash="",
            methods=tuple(asked["methods"].split(",")),
            seconds_per_method=asked["seconds_per_method"] or SECONDS_PER_METHOD,
        ),
    )
    device = samples.device(kind="cuda")
    told = reproduction(CalibrationHistory(profile(device=device), calibration_id="1", settings=settings.model_dump()))
    assert isinstance(told, Commands)
    program, name, *words = shlex.split(told.lines[1])
    assert (program, name) == ("casspec", "tune")
    assert tune.make_context("tune", words).params == asked | {"device": "cuda"}


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--seed", "4", "--trials", "9", "--budget", "12.5"],
        ["--suite", "my suite.jsonl"],
        ["--quick"],
        ["--quick", "--trials", "64", "--per-task"],
        ["--max-drafters", "1", "--max-extra-bytes", "1000000"],
    ],
)
def test_the_named_command_asks_for_the_same_calibration(options: list[str]) -> None:
    def settings(words: list[str]) -> tuple[click.Context, dict[str, object]]:
        context = calibrate.make_context("calibrate", list(words))
        given = context.params
        name = given["suite_name"] or "chat"
        suite = Suite(name=name, prompts=())
        cascade = {name: given[name] or None for name in ("max_drafters", "max_extra_bytes", "per_task")}
        changes = {"search": {"trials": given["trials"], "seconds": given["budget"]}, "cascade": cascade}
        made = _settings(name, suite, given["seed"], given["quick"], changes)
        return context, made.model_dump(mode="json")

    _, asked = settings(["tiny", *options])
    calibrated = CalibrationHistory(profile(device=samples.device(threads=3)), calibration_id="1", settings=asked)
    told = reproduction(calibrated)
    assert isinstance(told, Commands)
    program, name, *words = shlex.split(told.lines[0])
    assert (program, name) == ("casspec", "calibrate")
    context, again = settings(words)
    assert again == asked
    assert context.params["threads"] == 3
    assert context.params["dtype"] == "float32"
