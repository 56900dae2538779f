"""Online correction of predicted latencies: an injected slowdown is followed within 50 steps, spikes are not."""

import random

import pytest

from casspec.runtime.decode import Decoder
from casspec.runtime.latency.correction import LatencyCorrection
from casspec.runtime.latency.predictor import LatencyPredictor
from casspec.runtime.latency.timing import RanForward
from tests.runtime.tiny import repetitive_prompt, tiny_profile, tiny_target

TARGET, DRAFT = "target", "draft"
STEPS = 50
ERROR = 0.08


class Machine:
    """Forwards whose real time is a multiple of the prediction, with noise."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.slow = {TARGET: 1.0, DRAFT: 1.0}
        self.correction = LatencyCorrection(TARGET)

    def predicted(self, plan):
        return {TARGET: 4.0, DRAFT: 1.5}[plan] * self.random.choice([1.0, 1.3, 2.1])

    def run(self, steps, plans=(TARGET, DRAFT)):
        for _ in range(steps):
            for plan in plans:
                predicted = self.predicted(plan)
                noise = self.random.gauss(1.0, 0.04)
                self.correction.observe(plan, predicted, predicted * self.slow[plan] * noise)

    def error(self, plan):
        errors = []
        for _ in range(20):
            predicted = self.predicted(plan)
            errors.append(abs(self.correction.corrected_ms(plan, predicted) / (predicted * self.slow[plan]) - 1))
        return sum(errors) / len(errors)


@pytest.mark.parametrize("seed", range(8))
def test_follows_a_slowdown_of_everything_then_of_one_plan(seed):
    machine = Machine(seed)
    machine.run(30)
    assert machine.error(TARGET) < ERROR
    assert machine.error(DRAFT) < ERROR

    machine.slow = {TARGET: 2.0, DRAFT: 2.0}
    assert machine.error(TARGET) > 0.4
    machine.run(STEPS)
    assert machine.error(TARGET) < ERROR
    assert machine.error(DRAFT) < ERROR

    machine.slow[DRAFT] = 4.0
    machine.run(STEPS)
    assert machine.error(TARGET) < ERROR
    assert machine.error(DRAFT) < ERROR


def test_learns_a_constant_beside_the_slope():
    correction = LatencyCorrection(TARGET)
    for step in range(200):
        predicted = (2.0, 5.0, 9.0)[step % 3]
        correction.observe(TARGET, predicted, 1.2 * predicted + 1.0)
    assert correction.corrected_ms(TARGET, 3.0) == pytest.approx(1.2 * 3.0 + 1.0, rel=0.05)


def test_what_is_predicted_longer_stays_longer_far_from_what_ran():
    correction = LatencyCorrection(TARGET)
    for step in range(200):
        predicted = (5.0, 9.0)[step % 2]
        correction.observe(TARGET, predicted, 2.0 * predicted - 4.0)
    slope, bias_ms = correction.line(TARGET)
    assert slope * 0.5 + bias_ms < 0  # what the line alone would say
    predicted = [0.1, 0.5, 1.0, 5.0, 9.0]
    corrected = correction.corrected_curve(TARGET, predicted)
    assert corrected[0] > 0
    assert corrected == sorted(corrected)
    assert corrected == [correction.corrected_ms(TARGET, ms) for ms in predicted]


def test_one_interrupted_forward_changes_little():
    machine = Machine(0)
    machine.run(30)
    before = machine.correction.corrected_ms(TARGET, 4.0)
    machine.correction.observe(TARGET, 4.0, 100.0)
    assert machine.correction.corrected_ms(TARGET, 4.0) == pytest.approx(before, rel=0.05)


def test_a_plan_that_does_not_run_follows_the_target():
    machine = Machine(0)
    machine.run(30)
    machine.slow = {TARGET: 2.0, DRAFT: 2.0}
    machine.run(150, plans=(TARGET,))
    assert machine.error(DRAFT) < ERROR
    assert machine.correction.corrected_ms("unseen", 1.0) == pytest.approx(2.0, rel=ERROR)


def test_knows_nothing_at_first():
    assert LatencyCorrection(TARGET).corrected_ms(DRAFT, 3.0) == 3.0


def test_costs_are_looked_up_where_the_text_is_not_where_the_last_one_was():
    """Both texts lie in one context step, but the second's larger forwards attend to a step more."""
    target = tiny_target()
    forward_ms = LatencyPredictor(tiny_profile(target).document.latency).forward_ms
    decoder = Decoder(target, tiny_profile(target), "dytc")
    for n_tokens in (65, 110):
        decoder.generate(repetitive_prompt(n_tokens), max_new_tokens=1)
    sizes, predicted = decoder._policy("greedy")._costs._latencies["target"]
    assert sizes[-1] == 24
    assert predicted == [forward_ms(target.full_plan, size, 109) for size in sizes]
    assert predicted[-1] > forward_ms(target.full_plan, 24, 64)


def test_dytc_follows_what_its_forwards_take_and_the_text_stays(monkeypatch):
    """Every forward twice as slow as predicted from some step on: the policy knows it, and emits the same tokens."""
    target = tiny_target(max_position_embeddings=512)
    profile, prompt = tiny_profile(target), repetitive_prompt(20)
    expected = Decoder(target, method="autoregressive").generate(prompt, max_new_tokens=400).token_ids
    decoder = Decoder(target, profile, "dytc")
    predict, factors = LatencyPredictor(profile.document.latency).forward_ms, iter([1.0] * 40 + [2.0] * 1000)

    def slowed(forward, _):
        if hasattr(forward, "plan"):
            predicted = predict(forward.plan, forward.n_tokens, forward.context_tokens)
            timed.append((forward.plan, predicted, predicted * next(factors)))
            ended(forward, timed[-1][2])

    timed, ended = [], RanForward.ended
    monkeypatch.setattr(RanForward, "ended", slowed)
    assert decoder.generate(prompt, max_new_tokens=400).token_ids == expected
    assert len(timed) > 40 + 2 * STEPS
    correction = decoder._policy("greedy")._costs._correction
    plan, predicted, measured = timed[-1]
    assert correction.corrected_ms(plan.name, predicted) == pytest.approx(measured, rel=ERROR)
