"""Which precisions are offered: measured against the target at each query length, refused with a reason, remembered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from casspec.cli.main import main
from casspec.profiler import precisions, stored
from casspec.profiler.design import design
from casspec.profiler.precisions import PrecisionVerdict, forward_ratios, judge, screen
from casspec.profiler.timing import HostTimer
from casspec.runtime.latency.predictor import LatencyPredictor
from casspec.runtime.loading.device import device_fingerprint
from casspec.runtime.loading.fingerprint import model_fingerprint
from casspec.runtime.model.plan import Plan
from casspec.runtime.model.target import TargetModel
from casspec.storage.database.connection import open_database
from casspec.storage.repository import Repository
from casspec.storage.schema import LatencyPoint, LatencySample, Measurement, Precision, Quantization, SkipSet
from tests.profiler.fakes import FakeClock, tiny_target
from tests.profiler.test_profile import BUDGET_SECONDS, CEILINGS

INT8, INT4 = Precision.INT8_DYNAMIC, Precision.INT4_WEIGHT
ROOMY: dict[str, object] = {"intermediate_size": 64}
"""Sizes that the 4-bit kernel of any processor takes."""


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


# ------------------------------------------------------------------------------------------------- a whole profile


@pytest.fixture
def generous(monkeypatch: pytest.MonkeyPatch) -> None:
    """4 bits pass the screen and any ratio is a gain, 8 bits cannot run: as on no device, but the same on all of them."""

    def reason(target: TargetModel, precision: Precision) -> str | None:
        return "no kernel here" if precision is INT8 else None

    monkeypatch.setattr(TargetModel, "refusal", reason)
    for bound in ("HOPELESS_RATIO", "LARGEST_RATIO"):
        monkeypatch.setattr(precisions, bound, 1e9)


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    database = open_database(str(tmp_path / "profile.db"))
    yield Repository(database)
    database.close()


@pytest.mark.usefixtures("generous")
def test_a_profile_measures_what_passes_the_screen_and_says_what_is_offered(repository: Repository) -> None:
    target = tiny_target(**ROOMY)
    device = device_fingerprint("cpu").model_copy(update={"ceilings": CEILINGS})
    repository.save_device(device)
    key = repository.calibration(model_fingerprint(target), device, "float32", {}).calibration_id
    model = stored.profile_stored(repository, key, target, device, budget_seconds=BUDGET_SECONDS)

    measured = {row.point for row in repository.latency_samples(key)}
    assert set(design(target, precisions=[INT4]).points) < measured
    found = stored.verdicts(repository, key)
    assert list(found) == [INT8, INT4]
    assert found[INT8].reason == "no kernel here"
    assert set(found[INT4].ratios) == set(precisions.QUERY_TOKENS)
    assert stored.offered(repository, key) == [Quantization(precision=INT4, extra_bytes=found[INT4].extra_bytes)]
    assert any(name.startswith("int4-weight:") for name in model.features)
    assert not any(name.startswith("int8-dynamic:") for name in model.features)
    plan = Plan.skipping(SkipSet(), target.n_layers, precision=INT4)
    assert LatencyPredictor(model).forward_ms(plan, 4, 64) > 0


@pytest.mark.usefixtures("generous")
def test_the_command_says_what_each_precision_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("casspec.load_target", lambda *_, **__: tiny_target(**ROOMY))
    monkeypatch.setattr(stored, "measure_ceilings", lambda _: CEILINGS)
    monkeypatch.setenv("COLUMNS", "160")
    words = ["profile", "reference", "--threads", "1", "--budget", "1", "--storage", str(tmp_path / "p.db")]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "int8-dynamic is not offered: no kernel here" in out
    (row,) = [line for line in out.splitlines() if "int4-weight" in line]
    assert "yes" in row
    assert row.count(".") >= len(precisions.QUERY_TOKENS)
