"""The points of a design: the same every time, complete where it matters, possible on the model."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casspec.profiler.design import LARGEST_BATCH_ROWS, VERIFY_BUCKETS, batches_up_to, design, estimate_seconds
from casspec.profiler.precisions import QUERY_TOKENS
from casspec.profiler.probes import plan_of
from casspec.runtime.latency.predictor import builtin_latency
from casspec.runtime.model.forward_input import bucket
from casspec.storage.errors import UnsupportedOption
from casspec.storage.schema import Precision
from tests.profiler.fakes import model_of, tiny_target

LOW_BIT = (Precision.INT8_DYNAMIC, Precision.INT4_WEIGHT)


def test_the_same_arguments_give_the_same_design() -> None:
    assert design(model_of(), seed=3) == design(model_of(), seed=3)


def test_the_seed_moves_the_held_out_cells_only() -> None:
    one, other = design(model_of(), seed=1), design(model_of(), seed=2)
    assert one.fitted == other.fitted
    assert one.held_out != other.held_out


def test_verification_covers_all_buckets_and_all_corners() -> None:
    forwards = [point for point in design(model_of()).fitted if point.subject == "forward"]
    contexts = {point.context_tokens for point in forwards}
    assert {bucket(point.n_tokens) for point in forwards} == set(VERIFY_BUCKETS)
    cells = {(point.n_tokens, point.context_tokens) for point in forwards}
    for tokens in (VERIFY_BUCKETS[0], VERIFY_BUCKETS[-1]):
        assert {(tokens, context) for context in contexts} <= cells
    for context in (min(contexts), max(contexts)):
        assert {(tokens, context) for tokens in VERIFY_BUCKETS} <= cells


def test_every_kind_of_point_is_measured_and_sub_layers_run_alone() -> None:
    points = design(model_of()).fitted
    assert {point.subject for point in points} == {"attention", "mlp", "drafter", "forward"}
    assert all(point.n_mlp == 0 for point in points if point.subject == "attention")
    assert all(point.n_attention == 0 for point in points if point.subject == "mlp")


def test_quantised_plans_are_measured_beside_the_target_and_leave_its_points_as_they_are() -> None:
    own, both = design(model_of(), 1), design(model_of(), 1, precisions=LOW_BIT)
    assert own.fitted == tuple(point for point in both.fitted if point.precision is Precision.TARGET)
    assert own.held_out == tuple(point for point in both.held_out if point.precision is Precision.TARGET)
    for precision in LOW_BIT:
        points = [point for point in both.fitted if point.precision is precision]
        assert len({(point.n_attention, point.n_mlp) for point in points}) >= 4
        forwards = [point for point in points if point.subject == "forward"]
        assert {point.n_tokens for point in forwards} == set(QUERY_TOKENS)
        compared = {point.model_copy(update={"precision": Precision.TARGET}) for point in forwards}
        assert len(compared & set(own.fitted)) >= 0.9 * len(forwards)


@given(
    st.integers(1, 80),
    st.integers(128, 200_000),
    st.integers(0, 5),
    st.sampled_from([(), LOW_BIT]),
    st.sampled_from([{}, {2: 200, 32: 4096}]),
)
def test_every_point_fits_the_model_and_none_is_both_fitted_and_held_out(
    n_layers: int, max_context: int, seed: int, precisions: tuple[Precision, ...], batches: dict[int, int]
) -> None:
    plan = design(model_of(n_layers, max_context), seed, precisions=precisions, batches=batches)
    assert len(set(plan.points)) == len(plan.points)
    for point in plan.points:
        assert point.context_tokens + point.n_tokens <= max_context
        assert max(point.n_attention, point.n_mlp) <= n_layers
        built = plan_of(point, n_layers)
        assert (built.n_attention, built.n_mlp) == (point.n_attention, point.n_mlp)


def test_batches_are_measured_as_far_as_memory_allows_and_leave_other_points_as_they_are() -> None:
    own, more = design(model_of(), 1), design(model_of(), 1, batches={2: 2048, 8: 600, 32: 100})
    assert set(own.points) == {point for point in more.points if point.batch == 1}
    rows = {
        batch: max(point.context_tokens + point.n_tokens for point in more.points if point.batch == batch)
        for batch in {point.batch for point in more.points}
    }
    assert rows.keys() == {1, 2, 8}
    assert rows[2] > 1900
    assert rows[8] <= 600
    assert all(any(point.batch == batch for point in more.held_out) for batch in (2, 8))
    assert all(point.n_tokens * point.batch <= LARGEST_BATCH_ROWS for point in more.points if point.batch > 1)


def test_a_context_shorter_than_a_tree_is_refused() -> None:
    with pytest.raises(UnsupportedOption, match="too short to calibrate"):
        design(model_of(max_context=VERIFY_BUCKETS[-1] - 1))


def test_batches_double_up_to_the_largest() -> None:
    assert [batches_up_to(largest) for largest in (1, 2, 8, 12, 32)] == [
        (),
        (2,),
        (2, 4, 8),
        (2, 4, 8, 12),
        (2, 4, 8, 16, 32),
    ]


def test_an_estimate_grows_with_the_calls() -> None:
    target = tiny_target()
    points, model = design(target).points, builtin_latency(target)
    assert estimate_seconds(points, model, 20) == 2 * estimate_seconds(points, model, 10) > 0
