"""Fits the latency model: Bayesian linear regression (MacKay 1992) on roofline features, in relative error.

A policy compares costs by ratio, and points span two orders of magnitude, so each row is divided by its measured time:
the regression then explains ones, and its residual is the relative error. Columns are scaled to unit size, because the
prior is the same for all coefficients.

Every feature is a time something takes, so a negative coefficient would make some larger forward look cheaper. Such
features are dropped, the most negative first. The constant alone may be negative: a few layers fit the processor's
caches where many do not, so the line through larger plans passes below zero.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from casspec.runtime.latency_features import FEATURES
from casspec.runtime.target import bucket
from casspec.storage.schema import LatencyModel, LatencyPoint, LatencySample

FOLDS = 8
MAY_BE_NEGATIVE = "constant"


@dataclass(frozen=True, slots=True)
class Fit:
    """Coefficients of the features that were kept, their posterior covariance, and the relative noise."""

    features: tuple[str, ...]
    coefficients: np.ndarray
    covariance: np.ndarray
    noise: float

    def predict_ms(self, point: LatencyPoint, shape: Mapping[str, float]) -> float:
        return float(self.coefficients @ [FEATURES[name](point, shape) for name in self.features])


def fit(samples: Sequence[LatencySample], shape: Mapping[str, float], features: Sequence[str] = tuple(FEATURES)) -> Fit:
    """Regression of the medians of `samples` on `features`.

    Args:
        shape: what the features need of model and device, see `casspec.runtime.latency.shape_of`.
    """
    times = np.array([sample.measurement.median_ms for sample in samples])
    rows = np.array([[FEATURES[name](sample.point, shape) for name in features] for sample in samples]) / times[:, None]
    scale = np.sqrt((rows**2).mean(axis=0))
    kept = [index for index in range(len(features)) if scale[index] > 0]
    while True:
        coefficients, covariance, noise = _bayesian_ridge(rows[:, kept] / scale[kept])
        free = np.array([features[index] == MAY_BE_NEGATIVE for index in kept])
        lowest = int(np.argmin(np.where(free, np.inf, coefficients)))
        if free[lowest] or coefficients[lowest] >= 0:
            break
        del kept[lowest]
    return Fit(
        tuple(features[index] for index in kept),
        coefficients / scale[kept],
        covariance / np.outer(scale[kept], scale[kept]),
        noise,
    )


def cross_validated_ms(samples: Sequence[LatencySample], shape: Mapping[str, float], seed: int = 0) -> list[float]:
    """For every sample the prediction of a fit that has not seen its point: FOLDS folds, drawn by seed."""
    folds = min(FOLDS, len(samples))
    places = random.Random(seed).sample(range(len(samples)), len(samples))
    predicted = [0.0] * len(samples)
    for fold in range(folds):
        unseen = set(places[fold::folds])
        seen = [sample for place, sample in enumerate(samples) if place not in unseen]
        fitted = fit(seen, shape)
        for place in unseen:
            predicted[place] = fitted.predict_ms(samples[place].point, shape)
    return predicted


def relative_errors(samples: Sequence[LatencySample], predicted_ms: Sequence[float]) -> list[float]:
    """|predicted / measured - 1| of every sample."""
    pairs = zip(samples, predicted_ms, strict=True)
    return [abs(predicted / sample.measurement.median_ms - 1.0) for sample, predicted in pairs]


def latency_model(
    samples: Sequence[LatencySample], shape: Mapping[str, float], test_retest: float, seed: int = 0
) -> LatencyModel:
    """The document the runtime predicts from: a fit over all `samples`, with its cross-validated error."""
    fitted = fit(samples, shape)
    errors = relative_errors(samples, cross_validated_ms(samples, shape, seed))
    contexts = [sample.point.context_tokens for sample in samples]
    return LatencyModel(
        features=fitted.features,
        coefficients=tuple(fitted.coefficients.tolist()),
        covariance=tuple(map(tuple, fitted.covariance.tolist())),
        noise=fitted.noise,
        shape=dict(shape),
        buckets=tuple(sorted({bucket(sample.point.n_tokens) for sample in samples})),
        test_retest=test_retest,
        cv_median_error=float(np.median(errors)),
        cv_p90_error=float(np.quantile(errors, 0.9)),
        n_points=len(samples),
        fitted_context_tokens=(min(contexts), max(contexts)),
    )


def _bayesian_ridge(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Coefficients that explain ones, their posterior covariance, and the standard deviation of the residual."""
    from sklearn.linear_model import BayesianRidge

    ridge = BayesianRidge(fit_intercept=False, max_iter=1000).fit(rows, np.ones(len(rows)))
    return ridge.coef_, ridge.sigma_, float(ridge.alpha_**-0.5)
