"""What speculation gained on a text, and why where it did not."""

from __future__ import annotations

import pytest

from casspec.cli.text_statistics import gain, print_defaults
from casspec.runtime.decode import Decoder
from casspec.runtime.decoding.generation import Statistics
from casspec.runtime.latency.predictor import LatencyPredictor
from tests.runtime.tiny import tiny_profile, tiny_target

TARGET = tiny_target(seed=7)
PROFILED = Decoder(TARGET, tiny_profile(TARGET))


def statistics(accepted: int, drafted: int = 40, steps: int = 10, slowdown: float = 1.0) -> Statistics:
    """Steps whose verifications took what is predicted times `slowdown`, and nothing else."""
    forward_ms = LatencyPredictor(PROFILED.profile.latency).forward_ms
    tokens = steps + accepted
    verify_ms = steps * slowdown * forward_ms(TARGET.full_plan, 1 + drafted // steps, 20 + tokens // 2)
    found = Statistics("dytc", steps, tokens, drafted, accepted, decode_ms=verify_ms, verify_ms=verify_ms)
    found.accepted_by["prompt-lookup"], found.drafted_by["prompt-lookup"] = accepted, drafted
    return found


@pytest.mark.parametrize("slowdown", [1.0, 3.0])
def test_a_gain_does_not_depend_on_how_busy_the_machine_is(slowdown: float) -> None:
    told = gain(PROFILED, statistics(30, slowdown=slowdown), 20)
    assert told.startswith("about ")
    assert told == gain(PROFILED, statistics(30), 20)


def test_nothing_gained_is_explained() -> None:
    told = gain(PROFILED, statistics(0), 20)
    assert told.startswith("none")
    assert "0 of 40 drafted tokens were right" in told
    assert "nothing was drafted" in gain(PROFILED, statistics(0, drafted=0), 20)
    assert "plain decoding" in gain(PROFILED, Statistics("autoregressive", 5, 5), 20)
    assert "unknown without a profile" in gain(Decoder(TARGET), statistics(3), 20)


def test_what_the_model_asks_for_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    target = tiny_target(seed=7)
    config = target.library_model.generation_config
    config.do_sample, config.temperature, config.top_k, config.guidance_scale = True, 0.7, 20, 1.5
    print_defaults(Decoder(target), {"temperature": 0.2})
    assert capsys.readouterr().err == ("from the model's generation config: top_k=20; not taken: guidance_scale\n")
