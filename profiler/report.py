"""How well a latency model predicts, by kind of point: cross-validated where it was fitted, plain where held out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from casspec.profiler.design import Design
from casspec.profiler.profile import fitted_samples
from casspec.profiler.regression import cross_validated_ms, relative_errors
from casspec.runtime.latency import LatencyPredictor
from casspec.storage.schema import LatencyModel, LatencyPoint, LatencySample, Measurement, Precision

LARGEST_ERROR = 0.05
RETEST_FACTOR = 1.5
TOKEN_CLASSES = ((1, 1), (2, 8), (9, 32), (33, 512))


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """Relative errors of one kind of points."""

    group: str
    n_points: int
    median_error: float
    p90_error: float
    median_spread: float
    """Interquartile range over median within the points: what the device itself varies."""


def error_bar(model: LatencyModel) -> float:
    """The median error a good fit stays under: 5 %, or what second measurements differ by where that is more."""
    return max(LARGEST_ERROR, RETEST_FACTOR * model.test_retest)


def error_table(samples: Sequence[LatencySample], model: LatencyModel, plan: Design, seed: int = 0) -> list[ErrorRow]:
    """Rows by subject, query tokens and context, then all points, then those held out of the fit."""
    fitted = fitted_samples(samples, plan)
    errors = relative_errors(fitted, cross_validated_ms(fitted, model.shape, seed))
    held_out = [sample for sample in samples if sample.point in set(plan.held_out)]
    predictor = LatencyPredictor(model)
    held_out_errors = relative_errors(held_out, [predictor.predict_ms(sample.point) for sample in held_out])

    groups: dict[str, list[int]] = {}
    for classify in (_subject, _tokens, _context(model)):
        names = [classify(sample.point) for sample in fitted]
        for name in sorted(set(names)):
            groups[name] = [place for place, other in enumerate(names) if other == name]
    rows = [_row(name, [fitted[i] for i in places], [errors[i] for i in places]) for name, places in groups.items()]
    rows.append(_row("all, cross-validated", fitted, errors))
    if held_out:
        rows.append(_row("held-out cells", held_out, held_out_errors))
    return rows


def _row(group: str, samples: Sequence[LatencySample], errors: Sequence[float]) -> ErrorRow:
    spreads = [sample.measurement.spread for sample in samples]
    return ErrorRow(
        group, len(errors), median(errors), Measurement(values=tuple(errors)).quantile(0.9), median(spreads)
    )


def _subject(point: LatencyPoint) -> str:
    own = point.precision is Precision.TARGET
    return point.subject if own else f"{point.subject}, {point.precision.short}"


def _tokens(point: LatencyPoint) -> str:
    low, high = next(bounds for bounds in TOKEN_CLASSES if point.n_tokens <= bounds[1])
    return f"tokens {low:>2}" if low == high else f"tokens {low:>2} to {high}"


def _context(model: LatencyModel) -> Callable[[LatencyPoint], str]:
    half = model.fitted_context_tokens[1] // 2
    return lambda point: f"context below {half}" if point.context_tokens < half else f"context from {half}"
