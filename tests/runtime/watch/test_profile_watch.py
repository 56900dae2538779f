"""A watched profile: what is served of it is summed up, and a drift is told once with what to run."""

from __future__ import annotations

import logging
from random import Random

import pytest
import torch

from casspec.runtime.batching.engine import BatchEngine
from casspec.runtime.decode import Decoder
from casspec.runtime.decoding.acceptance import FIRST_CONFIDENCE
from casspec.runtime.decoding.generation import Statistics
from casspec.runtime.watch.figures import figures
from casspec.runtime.watch.profile_watch import ProfileWatch
from casspec.storage.schema import AcceptanceCell, AcceptancePrior, CascadeProfile, DrafterSpec, SkipSet
from tests.runtime.tiny import repetitive_prompt, tiny_profile, tiny_target
from tests.runtime.watch.streams import text
from tests.storage.samples import profile


def watched(**changes: object) -> CascadeProfile:
    cell = AcceptanceCell(key=f"int4:{FIRST_CONFIDENCE}", accepted=1946, trials=2048)
    plan = DrafterSpec(name="int4", kind="self", skip=SkipSet(mlp=(1,)), parameters={"acceptance": 0.95})
    return profile(drafters=(plan,), acceptance=(AcceptancePrior(mode="sample", cells=(cell,)),), **changes)


def test_traffic_of_another_kind_is_told_once_and_its_end_too(caplog: pytest.LogCaptureFixture) -> None:
    rng, watch = Random(0), ProfileWatch(watched(), "smollm2", "traffic.jsonl")
    with caplog.at_level(logging.WARNING, logger="casspec"):
        for _ in range(300):
            watch.text("sample", text(rng, "int4", 0.95, 60, 2.0))
        assert (watch.drifts, caplog.messages) == ((), [])
        for _ in range(300):
            watch.text("sample", text(rng, "int4", 0.81, 60, 2.0))
        (drift,) = watch.drifts
        (line,) = caplog.messages
        assert line.startswith("the profile no longer fits: acceptance of int4 .8")
        assert line.endswith(", calibrated .95 under sampling; run: casspec calibrate smollm2 --suite traffic.jsonl")
        assert watch.remedy(drift) in line
        for _ in range(2_000):
            watch.text("sample", text(rng, "int4", 0.97, 60, 1.5))
    assert watch.drifts == ()
    assert caplog.messages[1:] == ["the profile fits again: acceptance of int4 is as calibrated"]


def test_a_slow_machine_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    watch = ProfileWatch(watched(), "smollm2", clock=lambda: now)
    with caplog.at_level(logging.WARNING, logger="casspec"):
        for second in range(30 * 60):
            now += 1.0
            watch.forward("target", 10.0, 30.0)
            if second % 90 == 0:
                watch.text("greedy", Statistics(emitted_tokens=2_000))
    assert [drift.kind for drift in watch.drifts] == ["latency"]
    assert caplog.messages == [
        "the profile no longer fits: forwards of target take 3 times as long as predicted; run: casspec calibrate smollm2"
    ]


def test_the_summary_has_what_was_seen() -> None:
    rng, watch = Random(0), ProfileWatch(watched(), "smollm2")
    texts = [text(rng, "int4", 0.9, 50, 2.0) for _ in range(7)]
    for one in texts:
        watch.text("sample", one)
    watch.forward("int4", 2.0, 3.0)
    summary = watch.summary()
    assert (summary.profile_id, summary.tokens) == (watched().profile_id, 350)
    (drafter,), (plan,) = summary.drafters, summary.plans
    assert (drafter.mode, drafter.drafter, drafter.calibrated) == ("sample", "int4", 1946 / 2048)
    assert (drafter.texts, drafter.trials, drafter.right) == (7, 350, sum(one.right_by["int4"] for one in texts))
    assert (plan.forwards, plan.predicted_ms, plan.measured_ms) == (1, 2.0, 3.0)
    twice = summary.plus(watch.summary())
    assert twice.tokens == 700


@pytest.mark.parametrize("batched", [False, True])
def test_texts_of_a_decoder_and_of_a_batch_are_judged_by_their_statistics(batched: bool) -> None:
    target = tiny_target("qwen2", seed=7)
    loaded = tiny_profile(target)
    decoder = Decoder(target, loaded, "dytc")
    assert loaded.cascade is not None
    watch = ProfileWatch(loaded.cascade, "tiny")
    prompts = [repetitive_prompt(40, seed) for seed in range(3)]
    options = {"max_new_tokens": 24, "temperature": 0.7, "seed": 3}
    alone = [decoder.generate(prompt, **options) for prompt in prompts]
    texts = BatchEngine(decoder).generate(prompts, **options) if batched else alone
    for one in texts:
        watch.text("sample", one.statistics)
        for name, n in one.statistics.trials_by.items():
            assert 0 <= one.statistics.right_by[name] <= n
        assert one.statistics.trials_by["token-recycling"] >= one.statistics.verify_steps
    seen = {each.drafter for each in watch.summary().drafters}
    assert seen == {drafter for mode, drafter in figures(loaded.cascade) if mode == "sample"} & {
        name for one in texts for name in one.statistics.trials_by
    }
    assert sum(each.trials for each in watch.summary().drafters) > 0


def test_trials_of_a_text_that_was_left_are_not_the_next_ones() -> None:
    target = tiny_target("qwen2", seed=7)
    decoder = Decoder(target, tiny_profile(target), "dytc")
    prompt = repetitive_prompt(40, 1)
    alone = decoder.generate(prompt, max_new_tokens=8).statistics.trials_by

    def stop(tokens: list[int]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), torch.inference_mode():
        decoder.generate(repetitive_prompt(40, 2), max_new_tokens=30, on_tokens=stop)
    again = decoder.generate(prompt, max_new_tokens=8).statistics.trials_by
    assert again["prompt-lookup"] <= alone["prompt-lookup"] + 1
