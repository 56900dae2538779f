"""Which precisions are offered: measured against the target at each query length, or refused with a reason."""

from __future__ import annotations

from typing import Any

import pytest

from casspec.profiler.precisions import PrecisionVerdict, forward_ratios, judge, screen
from casspec.profiler.timing import HostTimer
from casspec.storage.schema import LatencyPoint, LatencySample, Measurement, Precision
from tests.profiler.fakes import FakeClock, tiny_target
from tests.profiler.whole_profile import ROOMY

INT8, INT4 = Precision.INT8_DYNAMIC, Precision.INT4_WEIGHT


def sample(precision: Precision, n_tokens: int, context: int, milliseconds: float) -> LatencySample:
    point = LatencyPoint(
        subject="forward", n_attention=3, n_mlp=3, precision=precision, n_tokens=n_tokens, context_tokens=context
    )
    return LatencySample(point=point, measurement=Measurement(values=(milliseconds,)))


def first(precision: Precision = INT8, **changes: Any) -> PrecisionVerdict:
    return PrecisionVerdict(precision=precision, extra_bytes=1000, ratios={1: 0.5}).model_copy(update=changes)


class PacedTimer(HostTimer):
    """Forwards take as long as a test says: `slowdowns` of one precision after the other, in the order they are asked for."""

    def __init__(self, slowdowns: list[float]) -> None:
        super().__init__(FakeClock())
        self._slowdowns = slowdowns

    def time_ms(self, call: Any, repeats: int) -> list[float]:
        call()
        self._slowdowns = self._slowdowns[1:] + self._slowdowns[:1]
        return [self._slowdowns[-1]] * repeats


def test_ratios_compare_forwards_of_the_same_length_and_context() -> None:
    samples = [
        sample(Precision.TARGET, 1, 0, 2.0),
        sample(Precision.TARGET, 1, 128, 4.0),
        sample(Precision.TARGET, 8, 0, 5.0),
        sample(INT8, 1, 0, 1.0),
        sample(INT8, 1, 128, 3.0),
        sample(INT8, 8, 0, 10.0),
        sample(INT8, 8, 64, 1.0),  # the target was not measured there
        sample(INT4, 1, 0, 0.1),
    ]
    expected = {1: pytest.approx(0.625), 8: pytest.approx(2.0)}
    assert forward_ratios(INT8, samples) == expected
    batched = [
        one.model_copy(
            update={"point": one.point.model_copy(update={"batch": 4}), "measurement": Measurement(values=(9.0,))}
        )
        for one in samples
    ]
    assert forward_ratios(INT8, samples + batched) == forward_ratios(INT8, batched + samples) == expected


def test_one_query_length_that_gains_is_enough() -> None:
    samples = [sample(p, n, 0, ms) for p, n, ms in ((Precision.TARGET, 1, 2.0), (INT8, 1, 1.0))]
    samples += [sample(p, n, 0, ms) for p, n, ms in ((Precision.TARGET, 8, 2.0), (INT8, 8, 4.0))]
    verdict = judge(first(), samples)
    assert verdict.reason is None
    assert (verdict.ratios, verdict.extra_bytes) == ({1: 0.5, 8: 2.0}, 1000)


def test_a_gain_within_the_noise_is_none() -> None:
    samples = [sample(p, n, 0, ms) for n in (1, 8) for p, ms in ((Precision.TARGET, 2.0), (INT8, 1.96))]
    verdict = judge(first(), samples)
    assert verdict.reason is not None
    assert "0.98 of its time over 1 to 8 query tokens" in verdict.reason


def test_a_precision_refused_at_first_stays_refused() -> None:
    refused = first(reason="too slow")
    samples = [sample(p, 1, 0, ms) for p, ms in ((Precision.TARGET, 2.0), (INT8, 1.0))]
    assert judge(refused, samples) == refused


@pytest.mark.parametrize(("slowdowns", "is_worth_it"), [([1.0, 1.5], True), ([1.0, 2.5], False)])
def test_screening_keeps_packed_weights_only_where_they_may_gain(slowdowns: list[float], is_worth_it: bool) -> None:
    target = tiny_target(**ROOMY)
    verdict = screen(target, INT4, PacedTimer(slowdowns))
    assert verdict.ratios == {1: pytest.approx(slowdowns[1] / slowdowns[0])}
    assert verdict.extra_bytes > 0
    assert (verdict.reason is None) == target.is_prepared(INT4) == is_worth_it


def test_what_cannot_run_is_refused_without_packing() -> None:
    target = tiny_target()
    verdict = screen(target, INT4, HostTimer())
    assert "multiples of 32" in (verdict.reason or "")
    assert (verdict.extra_bytes, verdict.ratios) == (0, {})
    assert not target.is_prepared(INT4)
