"""Everything besides model, device and precision that decides the outcome of a calibration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from casspec.storage.schema import Document, Mode


class CalibrationSettings(Document):
    """Two calibrations with equal settings are the same one: the second answers from the store.

    Defaults keep a calibration of a small model on two cores at about two minutes, its benchmark included.
    """

    suite: str
    suite_sha256: str
    seed: int = 0
    modes: tuple[Mode, ...] = ("sample", "greedy")
    temperature: float = 0.7
    """Of mode "sample"."""
    recorded_prompts: int = 16
    """Prompts of the tuning half recorded in each mode."""
    recorded_tokens: int = 128
    profile_seconds: float = 14.0
    profile_rounds: int = 3
    """Measurements of a latency, however short that time is."""
    profiled_context: int = 2048
    """Largest context latencies are measured at; beyond it they are extrapolated."""
    profiled_batch: int = 1
    """Largest batch latencies are measured at; beyond it they are extrapolated."""
    searched_prompts: int = 8
    """Recordings a trial is scored on, of the first mode."""
    trials: int = 64
    search_seconds: float = 30.0
    patience: int = 24
    """Sampled trials in a row that leave the Pareto front as it is."""
    max_drafters: int = 2
    """Self-drafters in the cascade."""
    max_extra_bytes: int | None = None
    """Of packed weights beside the target's own; None is no limit."""
    probed_steps: int = 24
    """Warm steps of each probe of what steps take beside their forwards."""
    cascade_seconds: float = 3.0
    """For tuning dytc's parameters, of one cascade."""
    per_task: bool = False
    """Whether to ask if tasks deserve a cascade of their own."""
    bench_prompts: int = 5
    """Prompts of the reporting half in the closing benchmark."""
    bench_tokens: int = 128
    bench_modes: tuple[Mode, ...] = ("sample",)
    """Sampling is the main one; `casspec bench` measures both."""

    @staticmethod
    def of_stored(values: Mapping[str, Any]) -> CalibrationSettings:
        """Those among what a calibration was stored with, whether it searched or tuned methods."""
        known = {name: value for name, value in values.items() if name in CalibrationSettings.model_fields}
        return CalibrationSettings.model_validate(known)


CASCADE_SETTINGS = ("max_drafters", "max_extra_bytes", "per_task")
"""What a user may ask of the choice of the cascade: nothing has to be measured again for another answer."""

QUICK: dict[str, Any] = {
    "recorded_prompts": 5,
    "recorded_tokens": 64,
    "profile_seconds": 5.0,
    "profile_rounds": 2,
    "profiled_context": 1024,
    "searched_prompts": 5,
    "trials": 24,
    "search_seconds": 4.0,
    "patience": 8,
    "probed_steps": 8,
    "cascade_seconds": 0.5,
    "bench_prompts": 1,
}
"""Changes to the settings for a calibration that is there soon: a working profile, no claim about how good it is."""


class RunTuningSettings(CalibrationSettings):
    """Of a calibration that takes an earlier one's profile over and tunes methods by real decodes."""

    tuned_from: str
    """Content hash of that profile."""
    tuned_methods: tuple[str, ...]
    seconds_per_method: float = 30.0
    settings_per_method: int = 16
