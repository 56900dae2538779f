"""The linear part of a latency model: regressions on roofline features, in relative error.

A policy compares costs by ratio, and points span two orders of magnitude, so each row is divided by its measured time:
the regression then explains ones, and its residual is the relative error. Columns are scaled to unit size, because the
prior is the same for all coefficients.

Every feature is a time something takes, so a negative coefficient would make some larger forward look cheaper.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from casspec.runtime.latency.features import FEATURES
from casspec.storage.schema import LatencyPoint, LatencySample

MAY_BE_NEGATIVE = "constant"


@dataclass(frozen=True, slots=True)
class LinearFit:
    """Coefficients of the features that were kept, their posterior covariance, and the relative noise."""

    features: tuple[str, ...]
    coefficients: np.ndarray
    covariance: np.ndarray
    noise: float

    def rows(self, points: Sequence[LatencyPoint], shape: Mapping[str, float]) -> np.ndarray:
        """Features [points, features] in milliseconds."""
        return np.array([[FEATURES[name](point, shape) for name in self.features] for point in points])

    def predict_ms(self, points: Sequence[LatencyPoint], shape: Mapping[str, float]) -> np.ndarray:
        """[points] milliseconds."""
        return self.rows(points, shape) @ self.coefficients


def bayesian(
    samples: Sequence[LatencySample], shape: Mapping[str, float], features: Sequence[str] = tuple(FEATURES)
) -> LinearFit:
    """Bayesian linear regression (MacKay 1992) of the medians of `samples` on `features`.

    Features with negative coefficients are dropped, the most negative first. The constant alone may be negative: a few layers fit the
    processor's caches where many do not, so the line through larger plans passes below zero.

    Args:
        shape: what the features need of model and device, see `casspec.runtime.latency.features.shape_of`.
    """
    from sklearn.linear_model import BayesianRidge

    rows, scale = _relative_rows(samples, shape, features)
    kept = [index for index in range(len(features)) if scale[index] > 0]
    while True:
        ridge = BayesianRidge(fit_intercept=False, max_iter=1000).fit(rows[:, kept] / scale[kept], np.ones(len(rows)))
        free = np.array([features[index] == MAY_BE_NEGATIVE for index in kept])
        lowest = int(np.argmin(np.where(free, np.inf, ridge.coef_)))
        if free[lowest] or ridge.coef_[lowest] >= 0:
            break
        del kept[lowest]
    return LinearFit(
        tuple(features[int(index)] for index in kept),
        ridge.coef_ / scale[kept],
        ridge.sigma_ / np.outer(scale[kept], scale[kept]),
        float(ridge.alpha_**-0.5),
    )


def non_negative(
    samples: Sequence[LatencySample], shape: Mapping[str, float], features: Sequence[str] = tuple(FEATURES)
) -> LinearFit:
    """Non-negative least squares (Lawson and Hanson 1974) on the same rows; features of weight 0 are left out."""
    from sklearn.linear_model import LinearRegression

    rows, scale = _relative_rows(samples, shape, features)
    scaled = rows / np.where(scale > 0, scale, 1.0)
    weights = LinearRegression(fit_intercept=False, positive=True).fit(scaled, np.ones(len(rows))).coef_
    kept = np.flatnonzero((weights > 0) & (scale > 0))
    residual = scaled @ weights - 1.0
    noise = float(np.sqrt(residual @ residual / max(len(rows) - len(kept), 1)))
    covariance = noise**2 * np.linalg.pinv(scaled[:, kept].T @ scaled[:, kept])
    return LinearFit(
        tuple(features[int(index)] for index in kept),
        weights[kept] / scale[kept],
        covariance / np.outer(scale[kept], scale[kept]),
        noise,
    )


def relative_errors(samples: Sequence[LatencySample], predicted_ms: Sequence[float] | np.ndarray) -> list[float]:
    """|predicted / measured - 1| of every sample."""
    pairs = zip(samples, predicted_ms, strict=True)
    return [float(abs(predicted / sample.measurement.median_ms - 1.0)) for sample, predicted in pairs]


def _relative_rows(
    samples: Sequence[LatencySample], shape: Mapping[str, float], features: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Features over measured time [samples, features], and the size of each column."""
    times = np.array([sample.measurement.median_ms for sample in samples])
    rows = np.array([[FEATURES[name](sample.point, shape) for name in features] for sample in samples]) / times[:, None]
    return rows, np.sqrt((rows**2).mean(axis=0))
