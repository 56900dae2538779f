"""Compares ways to predict latency by what they have not seen, and makes the stored model of the best.

Three splits ask three questions. Left-out points: how well does it interpolate? Left-out plan classes: is a plan nobody measured
predicted? Left-out contexts: are lengths between the measured ones? Errors are those of whole forwards, all that is ever asked.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np

from casspec.profiler.fit.candidates import WAYS_TO_FIT, Fitted, on_one_thread
from casspec.profiler.fit.regression import bayesian, relative_errors
from casspec.runtime.latency.features import Shape, attended_tokens, has_head
from casspec.runtime.model.forward_input import bucket
from casspec.storage.schema import (
    CandidateErrors,
    LatencyKind,
    LatencyModel,
    LatencyPoint,
    LatencySample,
    MeasuredPlan,
    Precision,
)

FOLDS = 8
P90_WEIGHT = 0.3
"""Of the 90th percentile beside the median: the errors aimed at are 10 % and 3 %."""

SIMPLER = 1.03
"""A simpler candidate is chosen while its score is at most this many times the best one's."""

NORMAL = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""

FEWEST_TO_FIT = 24
"""Points from which a fit to half of the contexts is worth asking."""

Fits = Mapping[LatencyKind, Fitted]
Folds = Sequence[Sequence[int]]
"""Places of the samples that each fold leaves out."""


@on_one_thread()
def latency_model(
    samples: Sequence[LatencySample],
    shape: Shape,
    test_retest: float,
    seed: int = 0,
    kinds: Sequence[LatencyKind] = tuple(WAYS_TO_FIT),
) -> LatencyModel:
    """The document the runtime predicts from: the best of `kinds` fitted to all `samples`, and the errors of all of them."""
    fits = fit_all(samples, shape, kinds)
    compared = compare(samples, shape, fits, seed)
    chosen = choose(compared)
    fitted = fits[chosen.kind]
    whole = [sample.point for sample in samples if has_head(sample.point)]
    layers = max(point.n_attention for point in whole), max(point.n_mlp for point in whole)
    measured = measured_plans(whole)
    classes = dict.fromkeys((plan.precision, plan.batch) for plan in measured)
    tables = [table for precision, batch in classes if (table := fitted.table(precision, batch, layers)) is not None]
    spread_is_told = all(table.spreads for table in tables)
    contexts = [sample.point.context_tokens for sample in samples]
    return LatencyModel(
        kind=chosen.kind,
        features=fitted.linear.features,
        coefficients=tuple(fitted.linear.coefficients.tolist()),
        covariance=tuple(map(tuple, fitted.linear.covariance.tolist())),
        noise=fitted.noise if spread_is_told else max(fitted.noise, NORMAL * chosen.by_point[0]),
        shape=dict(shape),
        tables=tuple(tables),
        buckets=tuple(sorted({bucket(sample.point.n_tokens) for sample in samples})),
        test_retest=test_retest,
        cv_median_error=chosen.by_point[0],
        cv_p90_error=chosen.by_point[1],
        n_points=len(samples),
        fitted_context_tokens=(min(contexts), max(contexts)),
        measured=measured,
        candidates=compared,
    )


def fit_all(
    samples: Sequence[LatencySample], shape: Shape, kinds: Sequence[LatencyKind], like: Fits | None = None
) -> Fits:
    """Every candidate fitted to the samples; `like`: earlier fits to take settings from."""
    linear = bayesian(samples, shape)
    return {kind: WAYS_TO_FIT[kind](samples, shape, linear, (like or {}).get(kind)) for kind in kinds}


def compare(samples: Sequence[LatencySample], shape: Shape, fits: Fits, seed: int = 0) -> tuple[CandidateErrors, ...]:
    """Errors of each candidate on what it has not seen; where all forwards are of one plan or one context, those by point again.

    `fits`: the candidates, fitted to all samples.
    """
    splits = {
        "by_point": point_folds(samples, seed),
        "by_plan": folds_of(samples, plan_class),
        "by_context": folds_of(samples, lambda point: attended_tokens(point.model_copy(update={"n_tokens": 1}))),
    }
    errors = {name: _split_errors(samples, shape, fits, folds) for name, folds in splits.items() if folds}
    beyond = beyond_half(samples, shape, fits)
    return tuple(
        CandidateErrors(
            kind=kind,
            beyond=beyond.get(kind),
            **{name: errors.get(name, errors["by_point"])[kind] for name in splits},
        )
        for kind in fits
    )


def choose(compared: Sequence[CandidateErrors]) -> CandidateErrors:
    """The simplest candidate that scores about as well as the best, by the three splits together."""
    scores = [
        sum(median + P90_WEIGHT * p90 for median, p90 in (entry.by_point, entry.by_plan, entry.by_context))
        for entry in compared
    ]
    order = list(WAYS_TO_FIT)
    good = [entry for entry, score in zip(compared, scores, strict=True) if score <= SIMPLER * min(scores)]
    return min(good, key=lambda entry: order.index(entry.kind))


def cross_validated_ms(
    samples: Sequence[LatencySample], shape: Shape, fits: Fits, folds: Folds
) -> dict[LatencyKind, np.ndarray]:
    """By candidate the predictions [samples] of fits that have not seen the fold; NaN for samples in no fold."""
    points = [sample.point for sample in samples]
    predicted = {kind: np.full(len(samples), np.nan) for kind in fits}
    for fold in folds:
        unseen = set(fold)
        seen = [sample for place, sample in enumerate(samples) if place not in unseen]
        for kind, fitted in fit_all(seen, shape, tuple(fits), fits).items():
            predicted[kind][list(fold)] = fitted.predict_ms([points[place] for place in fold], shape)
    return predicted


def beyond_half(samples: Sequence[LatencySample], shape: Shape, fits: Fits) -> dict[LatencyKind, tuple[float, float]]:
    """Errors at the largest context of candidates fitted to contexts up to half of it; {} where too little was measured."""
    largest = max(sample.point.context_tokens for sample in samples)
    near = [sample for sample in samples if sample.point.context_tokens <= largest / 2]
    far = [sample for sample in samples if sample.point.context_tokens == largest and has_head(sample.point)]
    known = {sample.point.precision for sample in near if has_head(sample.point)}
    far = [sample for sample in far if sample.point.precision in known]
    if largest == 0 or not far or len(near) < FEWEST_TO_FIT:
        return {}
    points = [sample.point for sample in far]
    return {
        kind: _summary(relative_errors(far, fitted.predict_ms(points, shape)))
        for kind, fitted in fit_all(near, shape, tuple(fits)).items()
    }


def point_folds(samples: Sequence[LatencySample], seed: int = 0) -> list[list[int]]:
    """FOLDS folds of all samples, drawn by seed."""
    places = random.Random(seed).sample(range(len(samples)), len(samples))
    return [places[fold::FOLDS] for fold in range(min(FOLDS, len(samples)))]


def plan_class(point: LatencyPoint) -> Hashable:
    """What tells plans apart in time: how many sub-layers run, at which precision."""
    return point.n_attention, point.n_mlp, point.precision


def folds_of(samples: Sequence[LatencySample], group: Callable[[LatencyPoint], Hashable]) -> list[list[int]]:
    """A fold for each group of whole forwards, batches among them; [] for a single group, without which nothing is left to fit."""
    groups: dict[Hashable, list[int]] = {}
    for place, sample in enumerate(samples):
        if has_head(sample.point):
            groups.setdefault(group(sample.point), []).append(place)
    return list(groups.values()) if len(groups) > 1 else []


def measured_plans(points: Sequence[LatencyPoint]) -> tuple[MeasuredPlan, ...]:
    """Whole forwards by plan class and batch."""
    cells: dict[tuple[Precision, int, int, int], set[tuple[int, int]]] = {}
    for point in points:
        plan = (point.precision, point.batch, point.n_attention, point.n_mlp)
        cells.setdefault(plan, set()).add((bucket(point.n_tokens), attended_tokens(point)))
    return tuple(
        MeasuredPlan(precision=p, batch=b, n_attention=a, n_mlp=m, cells=tuple(sorted(cells[p, b, a, m])))
        for p, b, a, m in cells
    )


def _split_errors(
    samples: Sequence[LatencySample], shape: Shape, fits: Fits, folds: Folds
) -> dict[LatencyKind, tuple[float, float]]:
    predicted = cross_validated_ms(samples, shape, fits, folds)
    whole = [place for fold in folds for place in fold if has_head(samples[place].point)]
    chosen = [samples[place] for place in whole]
    return {kind: _summary(relative_errors(chosen, values[whole])) for kind, values in predicted.items()}


def _summary(errors: Sequence[float]) -> tuple[float, float]:
    """(median, 90th percentile)."""
    return float(np.median(errors)), float(np.quantile(errors, 0.9))
