"""Ways to predict latency that are compared: two linear ones, and two that say by what ratio a linear one is off.

Linear parts extrapolate, ratios follow what no feature explains: kernels that change with the query length, caches that overflow.
Ratios stay as they are beyond the largest context and query length they were fitted to. They are stored as a table over a grid,
because the runtime reads plain numbers only.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from typing import Any, Protocol

import numpy as np

from casspec.profiler.fit.regression import LinearFit, non_negative
from casspec.runtime.latency.features import Shape, attended_tokens, has_head
from casspec.runtime.latency.predictor import LEAST_MS
from casspec.runtime.model.forward_input import CONTEXT_STEP, QUERY_BUCKETS, bucket
from casspec.storage.schema import LatencyKind, LatencyPoint, LatencySample, LatencyTable, Precision

PLAN_SHARES = (0.25, 0.5, 0.75, 1.0)
"""Grid lines: sub-layers of each kind that run, as shares of all."""

LARGEST_MEASURED_RATIO = 4.0
"""Ratios are cut to this and its inverse: what is further off was not learned from points nearby."""

BOOSTING = {"max_iter": 40, "learning_rate": 0.2, "max_leaf_nodes": 8, "min_samples_leaf": 2}


@contextmanager
def on_one_thread() -> Iterator[None]:
    """For fits and predictions of few points, over which threads mostly wait: on two cores boosted trees take ten times as long. And BLAS
    sums in one order, so that equal samples give equal fits however busy the machine is.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        yield


class Ratios(Protocol):
    """Measured time over the time a linear part says, of whole forwards."""

    def log_ratio(self, points: Sequence[LatencyPoint]) -> np.ndarray:
        """[points]"""

    def spread(self, points: Sequence[LatencyPoint]) -> np.ndarray | None:
        """[points] relative standard deviations of the ratios; None where the method tells none."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """One candidate, fitted."""

    kind: LatencyKind
    linear: LinearFit
    noise: float
    ratios: Ratios | None = None
    largest_context: int = 0
    largest_tokens: int = 1
    """Beyond these ratios stay."""

    def predict_ms(self, points: Sequence[LatencyPoint], shape: Shape) -> np.ndarray:
        """[points] milliseconds."""
        predicted = self.linear.predict_ms(points, shape)
        whole = np.flatnonzero([has_head(point) for point in points])
        if self.ratios is not None and len(whole):
            near = [self._inside(points[int(index)]) for index in whole]
            predicted[whole] *= np.exp(np.clip(self.ratios.log_ratio(near), *_LOG_LIMITS))
        return predicted

    def table(self, precision: Precision, batch: int, layers: tuple[int, int]) -> LatencyTable | None:
        """The ratios on a grid over plans, query buckets and attended rows. `layers`: all attention and all MLP sub-layers."""
        if self.ratios is None:
            return None
        attention, mlp = (plan_lines(count) for count in layers)
        tokens = tuple(size for size in QUERY_BUCKETS if size <= bucket(self.largest_tokens))
        attended = attended_lines(self.largest_context + 1)
        points = [
            LatencyPoint(
                subject="forward", n_attention=a, n_mlp=m, precision=precision, batch=batch,
                n_tokens=t, context_tokens=max(rows - t, 0),
            )
            for a, m, t, rows in product(attention, mlp, tokens, attended)
        ]  # fmt: skip
        spread = self.ratios.spread(points)
        return LatencyTable(
            precision=precision,
            batch=batch,
            attention=attention,
            mlp=mlp,
            tokens=tokens,
            attended=attended,
            ratios=_rounded(np.exp(np.clip(self.ratios.log_ratio(points), *_LOG_LIMITS))),
            spreads=() if spread is None else _rounded(spread),
        )

    def _inside(self, point: LatencyPoint) -> LatencyPoint:
        tokens, context = min(point.n_tokens, self.largest_tokens), min(point.context_tokens, self.largest_context)
        return point.model_copy(update={"n_tokens": tokens, "context_tokens": context})


_LOG_LIMITS = (-np.log(LARGEST_MEASURED_RATIO), np.log(LARGEST_MEASURED_RATIO))


def plan_lines(layers: int) -> tuple[int, ...]:
    """Grid lines over how many of `layers` sub-layers run."""
    return tuple(sorted({max(1, round(share * layers)) for share in PLAN_SHARES}))


def attended_lines(largest: int) -> tuple[int, ...]:
    """Grid lines over attended rows: doubling from CONTEXT_STEP to `largest`, rounded up."""
    last = -(-largest // CONTEXT_STEP) * CONTEXT_STEP
    lines = [CONTEXT_STEP]
    while 2 * lines[-1] < last:
        lines.append(2 * lines[-1])
    return tuple(dict.fromkeys([*lines, last]))


class BoostedRatios:
    """Gradient-boosted trees of log time that rise with sub-layers, query tokens, attended rows and batch (Friedman 2001)."""

    def __init__(self, samples: Sequence[LatencySample], shape: Shape, linear: LinearFit) -> None:
        from sklearn.ensemble import HistGradientBoostingRegressor

        rises = [1] * len(_plain([samples[0].point])[0]) + [0] * len(Precision)
        self._trees = HistGradientBoostingRegressor(monotonic_cst=rises, early_stopping=False, **BOOSTING)
        self._trees.fit(self._inputs([sample.point for sample in samples]), _log_times(samples))
        self._linear, self._shape = linear, shape
        errors = self._trees.predict(self._inputs([sample.point for sample in samples])) - _log_times(samples)
        self.noise = float(errors.std())

    def log_ratio(self, points: Sequence[LatencyPoint]) -> np.ndarray:
        return self._trees.predict(self._inputs(points)) - _log_linear(points, self._shape, self._linear)

    def spread(self, points: Sequence[LatencyPoint]) -> None:
        return None

    def _inputs(self, points: Sequence[LatencyPoint]) -> np.ndarray:
        return np.hstack([_plain(points), _precisions(points)])


class InterpolatedRatios:
    """Measured ratios, interpolated in between by a Gaussian process (kriging; Rasmussen and Williams 2006, chapter 2).

    Where nothing similar was measured the ratio returns to 1 and its spread grows. Amplitude and noise are those most likely; how far a
    point tells of others is fixed: query lengths by the octave, contexts by two, plans by the share of sub-layers that run.
    """

    OCTAVES_OF_TOKENS, OCTAVES_OF_ROWS, OCTAVES_OF_BATCH, SHARE_OF_LAYERS, PRECISIONS_APART = 1.0, 2.0, 1.5, 1.0, 1.5

    def __init__(
        self, samples: Sequence[LatencySample], shape: Shape, linear: LinearFit, like: InterpolatedRatios | None = None
    ) -> None:
        """`like`: take amplitude and noise from this one instead of looking for the most likely."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

        points = [sample.point for sample in samples]
        if like is None:
            self._layers = max(max(point.n_attention, point.n_mlp) for point in points)
            likely = ConstantKernel(0.003, (1e-6, 1.0)) * Matern(1.0, "fixed", nu=2.5)
            kernel, search = likely + WhiteKernel(0.001, (1e-7, 0.3)), "fmin_l_bfgs_b"
        else:
            self._layers, kernel, search = like._layers, like.kernel, None
        process = GaussianProcessRegressor(kernel, optimizer=search)
        residuals = _log_times(samples) - _log_linear(points, shape, linear)
        with warnings.catch_warnings():
            # An amplitude of next to nothing: the linear part says it all.
            warnings.simplefilter("ignore", ConvergenceWarning)
            self._process = process.fit(self._inputs(points), residuals)
        self.kernel: Any = process.kernel_
        self.noise = float(np.sqrt(self.kernel.k2.noise_level))

    def log_ratio(self, points: Sequence[LatencyPoint]) -> np.ndarray:
        return self._process.predict(self._inputs(points))

    def spread(self, points: Sequence[LatencyPoint]) -> np.ndarray:
        variance = self._process.predict(self._inputs(points), return_std=True)[1] ** 2 - self.noise**2
        return np.sqrt(np.maximum(variance, 0.0))

    def covariance(self, points: Sequence[LatencyPoint]) -> np.ndarray:
        """[points, points] of the ratios."""
        found = self._process.predict(self._inputs(points), return_cov=True)[1]
        return found - self.noise**2 * np.eye(len(points))

    def _inputs(self, points: Sequence[LatencyPoint]) -> np.ndarray:
        attention, mlp, tokens, rows, batch = _plain(points).T
        share = self.SHARE_OF_LAYERS * self._layers
        columns = (
            attention / share,
            mlp / share,
            np.log2(tokens) / self.OCTAVES_OF_TOKENS,
            np.log2(rows) / self.OCTAVES_OF_ROWS,
            np.log2(batch) / self.OCTAVES_OF_BATCH,
        )
        return np.hstack([np.stack(columns, axis=1), _precisions(points) * self.PRECISIONS_APART / np.sqrt(2.0)])


Candidate = Callable[[Sequence[LatencySample], Shape, LinearFit, Fitted | None], Fitted]
"""Fits samples. Takes the Bayesian fit to the same ones, and an earlier fit of the same candidate to take settings from."""


def _bayesian_linear(
    samples: Sequence[LatencySample], shape: Shape, linear: LinearFit, like: Fitted | None = None
) -> Fitted:
    return Fitted("bayesian-linear", linear, linear.noise)


def _non_negative_linear(
    samples: Sequence[LatencySample], shape: Shape, linear: LinearFit, like: Fitted | None = None
) -> Fitted:
    found = non_negative(samples, shape)
    return Fitted("non-negative-linear", found, found.noise)


def _boosted_table(
    samples: Sequence[LatencySample], shape: Shape, linear: LinearFit, like: Fitted | None = None
) -> Fitted:
    found = BoostedRatios(_whole(samples), shape, linear)
    return Fitted("boosted-table", linear, found.noise, found, *_edges(samples))


def _measured_table(
    samples: Sequence[LatencySample], shape: Shape, linear: LinearFit, like: Fitted | None = None
) -> Fitted:
    settings = like.ratios if like is not None and isinstance(like.ratios, InterpolatedRatios) else None
    found = InterpolatedRatios(_whole(samples), shape, linear, settings)
    return Fitted("measured-table", linear, found.noise, found, *_edges(samples))


WAYS_TO_FIT: dict[LatencyKind, Candidate] = {
    "bayesian-linear": _bayesian_linear,
    "non-negative-linear": _non_negative_linear,
    "measured-table": _measured_table,
    "boosted-table": _boosted_table,
}
"""The simplest first."""


def _whole(samples: Sequence[LatencySample]) -> list[LatencySample]:
    return [sample for sample in samples if has_head(sample.point)]


def _edges(samples: Sequence[LatencySample]) -> tuple[int, int]:
    points = [sample.point for sample in _whole(samples)]
    return max(point.context_tokens for point in points), max(point.n_tokens for point in points)


def _plain(points: Sequence[LatencyPoint]) -> np.ndarray:
    """[points, 5]: what makes a forward longer."""
    return np.array(
        [
            (point.n_attention, point.n_mlp, bucket(point.n_tokens), attended_tokens(point), point.batch)
            for point in points
        ],
        dtype=float,
    )


def _precisions(points: Sequence[LatencyPoint]) -> np.ndarray:
    """[points, precisions], one 1 a row."""
    return np.array([[float(point.precision is precision) for precision in Precision] for point in points])


def _log_times(samples: Sequence[LatencySample]) -> np.ndarray:
    return np.log([sample.measurement.median_ms for sample in samples])


def _log_linear(points: Sequence[LatencyPoint], shape: Shape, linear: LinearFit) -> np.ndarray:
    return np.log(np.maximum(linear.predict_ms(points, shape), LEAST_MS))


def _rounded(values: np.ndarray) -> tuple[float, ...]:
    """Four digits after the point: far below what timing can tell, and short to store."""
    return tuple(np.round(values, 4).tolist())
