"""The candidates: what is stored predicts as what was fitted, and tables end where they were measured."""

from __future__ import annotations

from statistics import median
from typing import Any

import pytest
import torch
from threadpoolctl import threadpool_info

from casspec.profiler.design import Design
from casspec.profiler.fit.candidates import WAYS_TO_FIT, Fitted, attended_lines, plan_lines
from casspec.profiler.fit.validation import fit_all, latency_model
from casspec.runtime.latency.predictor import LatencyPredictor
from casspec.storage.schema import LatencyModel, LatencyPoint
from tests.profiler.fakes import SHAPE, samples_of, synthetic_samples, uneven_ms
from tests.profiler.fakes import WAVERING_NOISE as NOISE


@pytest.mark.parametrize("kind", ["measured-table", "boosted-table"])
def test_a_stored_table_predicts_what_was_fitted(plan: Design, kind: str) -> None:
    samples = samples_of(plan.fitted, uneven_ms)
    model = latency_model(samples, SHAPE, NOISE, kinds=(kind,))
    stored = LatencyPredictor(LatencyModel.model_validate_json(model.canonical_json()))
    on_grid = [point for point in plan.fitted if point.subject == "forward" and point.context_tokens < 1900]
    (fitted,) = fit_all(samples, SHAPE, (kind,)).values()
    predicted = fitted.predict_ms(on_grid, SHAPE)
    off = [abs(stored.predict_ms(point) / ms - 1) for point, ms in zip(on_grid, predicted, strict=True)]
    assert median(off) < 0.01
    for point in (on_grid[0], on_grid[-1]):
        assert stored.uncertainty(point) >= model.noise > 0


def test_a_table_leaves_what_lies_beyond_it_to_the_linear_part(uneven: LatencyModel) -> None:
    predictor = LatencyPredictor(uneven)
    linear = LatencyPredictor(uneven.model_copy(update={"tables": ()}))
    far = [
        LatencyPoint(subject="forward", n_attention=12, n_mlp=12, n_tokens=8, context_tokens=context)
        for context in (4000, 16000)
    ]
    ratios = [predictor.predict_ms(point) / linear.predict_ms(point) for point in far]
    assert ratios[0] == pytest.approx(ratios[1])
    assert {predictor.provenance(point) for point in far} == {"extrapolated"}


def test_fits_take_one_thread_and_give_the_others_back(plan: Design, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[int] = set()
    fit = WAYS_TO_FIT["boosted-table"]

    def spy(*arguments: Any) -> Fitted:
        seen.update(library["num_threads"] for library in threadpool_info() if library["user_api"] == "openmp")
        return fit(*arguments)

    monkeypatch.setitem(WAYS_TO_FIT, "boosted-table", spy)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        latency_model(synthetic_samples(plan.fitted), SHAPE, test_retest=0.0, kinds=("boosted-table",))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert seen == {1}


def test_sub_layers_alone_are_predicted_by_the_linear_part(uneven: LatencyModel) -> None:
    alone = LatencyPoint(subject="mlp", n_attention=0, n_mlp=12, n_tokens=8, context_tokens=0)
    linear = LatencyPredictor(uneven.model_copy(update={"tables": ()}))
    assert LatencyPredictor(uneven).predict_ms(alone) == linear.predict_ms(alone)


def test_grid_lines() -> None:
    assert plan_lines(12) == (3, 6, 9, 12)
    assert plan_lines(1) == (1,)
    assert attended_lines(1921) == (64, 128, 256, 512, 1024, 1984)
    assert attended_lines(1) == (64,)
