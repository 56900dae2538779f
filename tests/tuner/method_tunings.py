"""Methods raced by decoders that take as long as a test says."""

from __future__ import annotations

from typing import Any

from casspec.storage.schema import CascadeProfile
from casspec.tuner.bench.entries import TextGenerator
from casspec.tuner.methods import by_decoding as run_tuning
from casspec.tuner.settings import MethodTuningSettings, RunTuningSettings
from tests.tuner.small_calibration import SETTINGS
from tests.tuner.timed import Machine, Refusing, Timed

METHODS = ("prompt-lookup", "layer-sparse")


def run_settings(old: CascadeProfile, *methods: str, seconds: float = 2.0) -> RunTuningSettings:
    return RunTuningSettings(
        **SETTINGS.model_dump(),
        tune=MethodTuningSettings(profile_hash=old.content_hash(), methods=methods, seconds_per_method=seconds),
    )


def preferring(machine: Machine, favourites: dict[str, dict[str, Any]]) -> run_tuning.Generators:
    """Decoders that are the faster the more of a method's favourite values they have; of other methods they refuse."""

    def generators(method: str, parameters: dict[str, Any]) -> list[TextGenerator]:
        if method == "autoregressive":
            return [Timed(machine, method)] * run_tuning.N_FOLDS
        if method not in favourites:
            return [Refusing()] * run_tuning.N_FOLDS
        hits = sum(parameters[axis] == value for axis, value in favourites[method].items())
        return [Timed(machine, method, 1.0 + hits / 10)] * run_tuning.N_FOLDS

    return generators
