"""The commands that lead to a profile and its benchmark again."""

from __future__ import annotations

import shlex
from typing import Any

from casspec.tuner.calibration_history import CalibrationHistory
from casspec.tuner.report_page.parts import Commands, Part, Text
from casspec.tuner.settings import QUICK, CalibrationSettings, RunTuningSettings

OPTIONS = {
    "suite": "--suite",
    "seed": "--seed",
    "trials": "--trials",
    "search_seconds": "--budget",
    "max_drafters": "--max-drafters",
    "max_extra_bytes": "--max-extra-bytes",
    "profiled_batch": "--batch",
    "per_task": "--per-task",
}
"""Settings that an option of `casspec calibrate` sets."""


def reproduction(calibrated: CalibrationHistory) -> Part:
    """What to run on such a device to measure all of it anew."""
    if not calibrated.settings:
        return Text("This profile was imported: the calibration that made it is not in this database.")
    return Commands(
        "On such a device, with this version of casspec and torch",
        [_calibrate(calibrated), *_tune(calibrated), *_bench(calibrated)],
    )


def _calibrate(calibrated: CalibrationHistory) -> str:
    settings = calibrated.settings
    quick = all(settings.get(name) == value for name, value in QUICK.items() if name not in OPTIONS)
    words = [
        "casspec",
        "calibrate",
        calibrated.profile.model.name,
        "--dtype",
        calibrated.profile.dtype,
        *_where(calibrated),
        *(["--quick"] if quick else []),
    ]
    usual = {"suite": "reference"} | {
        name: CalibrationSettings.model_fields[name].default for name in OPTIONS if name != "suite"
    }
    for name, value in (usual | (QUICK if quick else {})).items():
        asked = settings.get(name, value)
        if name in OPTIONS and asked != value:
            words += [OPTIONS[name]] if asked is True else [OPTIONS[name], _text(asked)]
    return shlex.join(words)


def _tune(calibrated: CalibrationHistory) -> list[str]:
    """The tuning by real decodes, of a profile that took an earlier one over."""
    settings = calibrated.settings
    if not (tuned := settings.get("tuned_methods")):
        return []
    words = ["casspec", "tune", *_where(calibrated), "--methods", ",".join(tuned)]
    usual = RunTuningSettings.model_fields["seconds_per_method"].default
    if (seconds := settings.get("seconds_per_method", usual)) != usual:
        words += ["--seconds-per-method", _text(seconds)]
    return [shlex.join(words)]


def _bench(calibrated: CalibrationHistory) -> list[str]:
    return [
        report.environment["command_line"]
        for report in calibrated.newest_reports
        if str(report.environment.get("command_line", "")).startswith("casspec bench")
    ]


def _where(calibrated: CalibrationHistory) -> list[str]:
    """Options that name the device."""
    device = calibrated.profile.device
    return ["--threads", str(device.threads)] if device.kind == "cpu" else ["--device", device.kind]


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
