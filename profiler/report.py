"""How well a latency model predicts whole forwards, by kind: cross-validated where it was fitted, plain where held out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from casspec.profiler.design import Design
from casspec.profiler.fit.candidates import on_one_thread
from casspec.profiler.fit.regression import relative_errors
from casspec.profiler.fit.validation import cross_validated_ms, fit_all, point_folds
from casspec.profiler.profile import fitted_samples, held_out_samples
from casspec.profiler.slowdown import at_median_slowdown
from casspec.runtime.latency.features import has_head
from casspec.runtime.latency.predictor import LatencyPredictor
from casspec.storage.schema import CandidateErrors, LatencyModel, LatencyPoint, LatencySample, Measurement, Precision

LARGEST_ERROR = 0.03
RETEST_FACTOR = 1.5
LARGEST_P90_ERROR = 0.10
LARGEST_ERROR_BEYOND = 0.08
LARGEST_ERROR_OF_PLANS = 0.05
TOKEN_CLASSES = ((1, 1), (2, 8), (9, 32), (33, 512))


@dataclass(frozen=True, slots=True)
class Predicted:
    """A measured whole forward, at the median slowdown, and what a fit says that has not seen it."""

    sample: LatencySample
    predicted_ms: float

    @property
    def error(self) -> float:
        """|predicted / measured - 1|."""
        return relative_errors([self.sample], [self.predicted_ms])[0]


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """Relative errors of one kind of points."""

    group: str
    n_points: int
    median_error: float
    p90_error: float
    median_spread: float
    """Interquartile range over median within the points: what the device itself varies."""


@dataclass(frozen=True, slots=True)
class Check:
    """One figure of a latency model beside the largest it should have."""

    name: str
    value: float
    limit: float

    @property
    def holds(self) -> bool:
        return self.value <= self.limit


def error_bar(model: LatencyModel) -> float:
    """The median error a good fit stays under: 3 %, or what second measurements differ by where that is more."""
    return max(LARGEST_ERROR, RETEST_FACTOR * model.test_retest)


def checks(model: LatencyModel, held_out: Sequence[Predicted]) -> list[Check]:
    """What a good latency model keeps: errors on held-out cells, of left-out plans, and at twice the largest context fitted."""
    chosen = chosen_errors(model)
    found = []
    if held_out:
        row = error_row("", held_out)
        found.append(Check("held-out cells, median", row.median_error, error_bar(model)))
        found.append(Check("held-out cells, 90th percentile", row.p90_error, LARGEST_P90_ERROR))
    if chosen is not None:
        found.append(Check("plans left out of the fit, median", chosen.by_plan[0], LARGEST_ERROR_OF_PLANS))
        if chosen.beyond is not None:
            found.append(Check("twice the largest context fitted, median", chosen.beyond[0], LARGEST_ERROR_BEYOND))
    return found


def chosen_errors(model: LatencyModel) -> CandidateErrors | None:
    """Of the candidate the model is made of; None for a model of an earlier release."""
    return next((entry for entry in model.candidates if entry.kind == model.kind), None)


@on_one_thread()
def cross_validated(samples: Sequence[LatencySample], model: LatencyModel, seed: int = 0) -> list[Predicted]:
    """Every whole forward among `samples`, predicted by a fit of the model's kind to seven eighths of the others."""
    fits = fit_all(samples, model.shape, (model.kind,))
    predicted = cross_validated_ms(samples, model.shape, fits, point_folds(samples, seed))[model.kind]
    pairs = zip(samples, predicted.tolist(), strict=True)
    return [Predicted(sample, value) for sample, value in pairs if has_head(sample.point)]


def as_stored(samples: Sequence[LatencySample], model: LatencyModel) -> list[Predicted]:
    """Every whole forward among `samples`, predicted by the stored model, whether it was fitted to it or not."""
    predictor = LatencyPredictor(model)
    even = at_median_slowdown(samples)
    return [Predicted(sample, predictor.predict_ms(sample.point)) for sample in even if has_head(sample.point)]


def held_out(samples: Sequence[LatencySample], model: LatencyModel, plan: Design) -> list[Predicted]:
    """The cells that were drawn before anything was measured and never entered the fit, predicted by the stored model."""
    return as_stored(held_out_samples(samples, plan), model)


def error_table(samples: Sequence[LatencySample], model: LatencyModel, plan: Design, seed: int = 0) -> list[ErrorRow]:
    """Rows by plan, query tokens, context and batch, then all points, then those held out of the fit."""
    known = cross_validated(fitted_samples(samples, plan), model, seed)
    rows = [row for _, grouped in grouped_errors(known, model) for row in grouped]
    rows.append(error_row("all, cross-validated", known))
    drawn = held_out(samples, model, plan)
    return [*rows, error_row("held-out cells", drawn)] if drawn else rows


def grouped_errors(known: Sequence[Predicted], model: LatencyModel) -> list[tuple[str, list[ErrorRow]]]:
    """By plan, by tokens, by context, and by batch where there are several: (what it is by, a row a group)."""
    ways: list[tuple[str, Callable[[LatencyPoint], str]]] = [
        ("plan", _plan(model)),
        ("tokens", _tokens),
        ("context", _context(model)),
    ]
    if len({entry.sample.point.batch for entry in known}) > 1:
        ways.append(("batch", lambda point: f"batch {point.batch:>2}"))
    found = []
    for name, classify in ways:
        groups: dict[str, list[Predicted]] = {}
        for entry in known:
            groups.setdefault(classify(entry.sample.point), []).append(entry)
        found.append((name, [error_row(group, groups[group]) for group in sorted(groups)]))
    return found


def error_row(group: str, entries: Sequence[Predicted]) -> ErrorRow:
    """All `entries`, at least one, as one group."""
    errors = tuple(entry.error for entry in entries)
    spreads = [entry.sample.measurement.spread for entry in entries]
    return ErrorRow(group, len(errors), median(errors), Measurement(values=errors).quantile(0.9), median(spreads))


def _plan(model: LatencyModel) -> Callable[[LatencyPoint], str]:
    all_of = max((plan.n_attention + plan.n_mlp for plan in model.measured), default=0)

    def name(point: LatencyPoint) -> str:
        full = point.n_attention + point.n_mlp >= all_of
        if point.precision is Precision.TARGET:
            return "plan: the target" if full else "plan: sub-layers skipped"
        return f"plan: {point.precision.short}" if full else f"plan: {point.precision.short}, sub-layers skipped"

    return name


def _tokens(point: LatencyPoint) -> str:
    low, high = next(bounds for bounds in TOKEN_CLASSES if point.n_tokens <= bounds[1])
    return f"tokens {low:>2}" if low == high else f"tokens {low:>2} to {high}"


def _context(model: LatencyModel) -> Callable[[LatencyPoint], str]:
    half = model.fitted_context_tokens[1] // 2
    return lambda point: f"context below {half}" if point.context_tokens < half else f"context from {half}"
