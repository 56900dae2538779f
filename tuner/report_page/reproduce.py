"""The commands that lead to a profile and its benchmark again."""

from __future__ import annotations

import shlex
from typing import Any

from casspec.tuner.calibration_history import CalibrationHistory
from casspec.tuner.report_page.parts import Commands, Part, Text
from casspec.tuner.settings import QUICK, CalibrationSettings, MethodTuningSettings, is_by_stage

OPTIONS = {
    ("record", "turns"): "--turns",
    ("record", "long"): "--long",
    ("search", "trials"): "--trials",
    ("search", "seconds"): "--budget",
    ("cascade", "max_drafters"): "--max-drafters",
    ("cascade", "max_extra_bytes"): "--max-extra-bytes",
    ("cascade", "per_task"): "--per-task",
    ("profile", "max_batch"): "--batch",
}
"""Options of `casspec calibrate` by the stage and name of the setting they set."""


def reproduction(calibrated: CalibrationHistory) -> Part:
    """What to run on such a device to measure all of it anew."""
    if not calibrated.settings:
        return Text("This profile was imported: the calibration that made it is not in this database.")
    if not is_by_stage(calibrated.settings):
        return Text("An earlier release made this profile, with other options: `casspec calibrate` makes one anew.")
    return Commands(
        "On such a device, with this version of casspec and torch",
        [_calibrate(calibrated), *_tune(calibrated), *_bench(calibrated)],
    )


def _calibrate(calibrated: CalibrationHistory) -> str:
    made = CalibrationSettings.of_stored(calibrated.settings)
    usual = CalibrationSettings(suite=made.suite, suite_sha256=made.suite_sha256)
    quick = all(
        getattr(getattr(made, stage), name) == value
        for stage, values in QUICK.items()
        for name, value in values.items()
        if (stage, name) not in OPTIONS
    )
    words = [
        "casspec",
        "calibrate",
        calibrated.profile.model.name,
        "--dtype",
        calibrated.profile.dtype,
        *(["--backend", calibrated.profile.backend] if calibrated.profile.backend else []),
        *_where(calibrated),
        *(["--quick"] if quick else []),
        "--suite",
        made.suite,
        *(["--seed", str(made.seed)] if made.seed != usual.seed else []),
    ]
    for (stage, name), option in OPTIONS.items():
        asked = getattr(getattr(made, stage), name)
        if asked != getattr(getattr(usual.changed(QUICK) if quick else usual, stage), name):
            words += [option] if asked is True else [option, _text(asked)]
    return shlex.join(words)


def _tune(calibrated: CalibrationHistory) -> list[str]:
    """The tuning by real decodes, of a profile that took an earlier one over."""
    if "tune" not in calibrated.settings:
        return []
    asked = MethodTuningSettings.model_validate(calibrated.settings["tune"])
    words = ["casspec", "tune", *_where(calibrated), "--methods", ",".join(asked.methods)]
    if asked.seconds_per_method != MethodTuningSettings.model_fields["seconds_per_method"].default:
        words += ["--seconds-per-method", _text(asked.seconds_per_method)]
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
