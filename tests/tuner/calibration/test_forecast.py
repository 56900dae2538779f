"""A forecast grows with what is asked for and with what forwards take, and changes nothing."""

from __future__ import annotations

import pytest

from casspec.runtime.model.target import TargetModel
from casspec.tuner.calibration import forecast as module
from casspec.tuner.calibration.forecast import FIXED_S, forecast
from casspec.tuner.settings import QUICK, CalibrationSettings
from tests.runtime.tiny_families import tiny_model
from tests.tuner.small_calibration import small_target

USUAL = CalibrationSettings(suite="a", suite_sha256="b")


def test_less_is_asked_for_and_less_is_foreseen() -> None:
    target = small_target()
    usual, quick = forecast(target, USUAL), forecast(target, USUAL.changed(QUICK))
    assert FIXED_S < quick.seconds < usual.seconds
    assert 0 < quick.n_bytes < usual.n_bytes
    assert usual.token_ms > 0


def test_slower_forwards_take_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    target, seconds = small_target(), []
    for step in (0.01, 0.1):
        monkeypatch.setattr(module, "_forwards", lambda _, step=step: lambda n, _: step * (1 + n / 16))
        seconds.append(forecast(target, USUAL).seconds)
    assert seconds[1] > 2 * seconds[0]


def test_a_context_shorter_than_a_usual_prompt_is_no_obstacle() -> None:
    target = TargetModel(tiny_model("llama-dynamic"))
    assert target.max_context == 32
    assert forecast(target, USUAL).seconds > FIXED_S
