"""A whole profile of a tiny model: measured, resumed, refined."""

from __future__ import annotations

import pytest

from casspec.profiler.profile import RETEST_POINTS, Scope, profile_latency, retest_points
from casspec.profiler.refinement import REFINING_POINTS
from casspec.profiler.report import error_table
from casspec.runtime.latency.predictor import LatencyPredictor
from casspec.runtime.loading.device import device_fingerprint
from casspec.runtime.model.target import TargetModel
from casspec.storage.schema import DeviceFingerprint, LatencyPoint, LatencySample
from tests.profiler.whole_profile import BUDGET_SECONDS, Run, profile_of


def test_every_point_of_the_design_is_measured_once_and_some_again(run: Run) -> None:
    assert set(run.plan.points) < {sample.point for sample in run.samples}
    assert len({sample.point for sample in run.samples}) == len(run.samples) == len(run.plan.points) + REFINING_POINTS
    assert {sample.point for sample in run.retests} == set(retest_points(run.plan))
    assert len(run.retests) == RETEST_POINTS
    assert all(value > 0 for sample in run.samples for value in sample.measurement.values)


def test_the_model_knows_its_range_and_leaves_held_out_points_out(run: Run, target: TargetModel) -> None:
    assert run.model.n_points == len(run.plan.fitted) + REFINING_POINTS
    assert run.model.fitted_context_tokens == (0, max(point.context_tokens for point in run.plan.fitted))
    assert run.model.test_retest > 0
    assert LatencyPredictor(run.model).forward_ms(target.full_plan, 8, 64) > 0


def test_progress_runs_from_nothing_to_all_points(run: Run) -> None:
    total = len(run.plan.points) + REFINING_POINTS + RETEST_POINTS
    done = [count for count, _ in run.progress]
    assert (done[0], done[-1]) == (0, total)
    assert done == sorted(done)
    assert {seen for _, seen in run.progress} == {total}


def test_a_resumed_profile_measures_only_what_is_missing(
    run: Run, target: TargetModel, device: DeviceFingerprint
) -> None:
    half = len(run.samples) // 2
    resumed = profile_of(target, device, run.samples[:half], run.retests[:5])
    measured, known = [sample.point for sample in resumed.samples], {sample.point for sample in run.samples[:half]}
    assert not known & set(measured)
    assert set(run.plan.points) <= known | set(measured)
    assert len(known) + len(measured) == len(run.samples)
    assert {sample.point for sample in resumed.retests} == {sample.point for sample in run.retests[5:]}
    assert min(sample.order for sample in resumed.samples) == half


def test_a_profile_killed_while_refining_goes_on_with_the_same_points(
    run: Run, target: TargetModel, device: DeviceFingerprint
) -> None:
    resumed = profile_of(target, device, run.samples[:-3], run.retests)
    assert {sample.point for sample in resumed.samples} == {sample.point for sample in run.samples[-3:]}


def test_with_everything_stored_nothing_is_measured_and_the_fit_is_the_same(
    run: Run, target: TargetModel, device: DeviceFingerprint
) -> None:
    again = profile_of(target, device, run.samples[::-1], run.retests)
    assert (again.samples, again.retests) == ([], [])
    assert again.model == run.model


def test_a_device_without_ceilings_is_refused(target: TargetModel) -> None:
    with pytest.raises(ValueError, match="ceilings"):
        profile_latency(target, device_fingerprint("cpu"), [], lambda sample: None)


def test_batches_are_measured_predicted_and_told_apart(target: TargetModel, device: DeviceFingerprint) -> None:
    samples: list[LatencySample] = []
    scope = Scope(batches={2: 256, 4: 100})
    model = profile_latency(target, device, [], samples.append, budget_seconds=BUDGET_SECONDS, scope=scope)
    assert {sample.point.batch for sample in samples} == {1, 2}
    assert {plan.batch for plan in model.measured} == {1, 2}
    predictor = LatencyPredictor(model)
    one = LatencyPoint(subject="forward", n_attention=3, n_mlp=3, n_tokens=3, context_tokens=64)
    found = [predictor.provenance(one.model_copy(update={"batch": batch})) for batch in (1, 2, 8)]
    assert "extrapolated" not in found[:2]
    assert found[2] == "extrapolated"
    assert error_table(samples, model, scope.design(target))
