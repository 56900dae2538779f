"""The commands that lead to a profile and its benchmark again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from casspec.tuner.calibration_history import CalibrationHistory
from casspec.tuner.report_page.parts import Commands, Text
from casspec.tuner.report_page.reproduce import reproduction
from casspec.tuner.settings import QUICK, CalibrationSettings
from tests.storage import samples
from tests.tuner.report_page.pages import history, profile, report

USUAL = CalibrationSettings(suite="reference", suite_sha256="f" * 64)


def lines(settings: CalibrationSettings, **changes: Any) -> list[str]:
    made = CalibrationHistory(profile(**changes), calibration_id="1", settings=settings.model_dump(mode="json"))
    told = reproduction(made)
    assert isinstance(told, Commands)
    return list(told.lines)


def test_what_is_usual_is_not_named_but_for_the_suite_whose_default_depends_on_the_model() -> None:
    assert lines(USUAL) == ["casspec calibrate tiny --dtype float32 --threads 2 --suite reference"]


def test_a_quick_calibration_is_named_as_one_with_what_differs_from_that() -> None:
    quick = USUAL.changed(QUICK)
    assert lines(quick)[0].endswith("--threads 2 --quick --suite reference")
    assert lines(quick.changed({"search": {"trials": 64}}))[0].endswith("--quick --suite reference --trials 64")


def test_words_of_a_user_are_quoted_and_switches_have_no_value() -> None:
    asked = USUAL.changed({"cascade": {"per_task": True}, "search": {"seconds": 12.5}})
    (command,) = lines(asked.model_copy(update={"suite": "my suite.jsonl"}))
    assert command.endswith("--suite 'my suite.jsonl' --budget 12.5 --per-task")


def test_how_prompts_are_taken_is_named_where_it_is_not_usual() -> None:
    (command,) = lines(USUAL.changed({"record": {"turns": "all", "long": "cut"}}))
    assert command.endswith("--suite reference --turns all --long cut")


def test_another_device_is_named_by_its_kind() -> None:
    (command,) = lines(USUAL, device=samples.device(kind="cuda"))
    assert command == "casspec calibrate tiny --dtype float32 --device cuda --suite reference"


def test_benchmarks_are_named_where_a_command_ran_them() -> None:
    by_hand = report().model_copy(update={"environment": {"command_line": "python mine.py"}})
    known = history()
    told = [reproduction(replace(known, reports=[one])) for one in (report(), by_hand)]
    assert [len(commands.lines) for commands in told if isinstance(commands, Commands)] == [2, 1]


def test_settings_of_an_earlier_release_are_told_as_such() -> None:
    told = reproduction(
        CalibrationHistory(profile(), calibration_id="1", settings={"suite": "reference", "trials": 12})
    )
    assert isinstance(told, Text)
    assert "earlier release" in told.text


def test_an_imported_profile_has_no_command() -> None:
    told = reproduction(CalibrationHistory(profile()))
    assert isinstance(told, Text)
    assert "was imported" in told.text
