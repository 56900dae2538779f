"""Documents of the latency part of a calibration: what was measured, and the model fitted to it. Times are milliseconds."""

from __future__ import annotations

from math import prod
from typing import Literal, Self

from pydantic import model_validator

from casspec.storage.document import Document
from casspec.storage.plans import Precision


class Measurement(Document):
    """Latency samples of one thing under one condition; raw values kept, so that spread is never lost."""

    unit: Literal["ms"] = "ms"
    values: tuple[float, ...]

    @property
    def n(self) -> int:
        return len(self.values)

    @property
    def median_ms(self) -> float:
        return self.quantile(0.5)

    @property
    def spread(self) -> float:
        """Interquartile range over the median, a pure number."""
        middle = self.median_ms
        return (self.quantile(0.75) - self.quantile(0.25)) / middle if middle else 0.0

    def quantile(self, q: float) -> float:
        """Linear-interpolated quantile, `q` in [0, 1]."""
        ordered = sorted(self.values)
        if not ordered:
            raise ValueError("a measurement without values has no quantiles")
        place = q * (len(ordered) - 1)
        low = int(place)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


class LatencyPoint(Document):
    """What one latency measurement was taken of; its JSON is the natural key of the stored row.

    `subject`: "attention" or "mlp" (sub-layers of one kind alone, without the head), "drafter" (the whole forward of a
    plan that leaves sub-layers out, over few tokens) or "forward" (a verification: all sub-layers and the head).
    """

    subject: Literal["attention", "mlp", "drafter", "forward"]
    n_attention: int
    n_mlp: int
    """How many sub-layers of each kind ran."""
    precision: Precision = Precision.TARGET
    n_tokens: int
    """Query tokens, before padding to a bucket."""
    context_tokens: int
    """Committed rows attended to."""
    batch: int = 1


class LatencySample(Document):
    """A measured point. `order` is its place in the run, so that drift can be seen."""

    point: LatencyPoint
    measurement: Measurement
    order: int = 0
    slowdown: float = 1.0
    """How slow the machine was meanwhile: time of the anchors over their time when the run began. `measurement` is as it was."""


LatencyKind = Literal["bayesian-linear", "non-negative-linear", "boosted-table", "measured-table"]


class LatencyTable(Document):
    """What whole forwards of one precision and batch take over what the linear part says, on a grid.

    Between grid lines the logarithm of the ratio is interpolated linearly in sub-layers, in the logarithm of the query tokens and in
    attended rows; beyond the last line it stays, so that the linear part extrapolates.
    """

    precision: Precision
    batch: int = 1
    attention: tuple[int, ...]
    mlp: tuple[int, ...]
    """Sub-layers that run."""
    tokens: tuple[int, ...]
    """Query buckets."""
    attended: tuple[int, ...]
    """Cache rows a query attends to."""
    ratios: tuple[float, ...]
    """Row by row in the order of the axes above, the last one fastest."""
    spreads: tuple[float, ...] = ()
    """Relative standard deviations of the ratios, () where the method gives none."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        axes = (self.attention, self.mlp, self.tokens, self.attended)
        if any(not axis or list(axis) != sorted(set(axis)) for axis in axes):
            raise ValueError("the lines of a latency table's axes have to rise")
        size = prod(map(len, axes))
        if len(self.ratios) != size or len(self.spreads) not in (0, size):
            raise ValueError(
                f"a latency table of {size} cells holds {len(self.ratios)} ratios and {len(self.spreads)} spreads"
            )
        if min(self.tokens) < 1 or not min(self.ratios) > 0:
            raise ValueError("the tokens and ratios of a latency table have to be positive")
        return self


class MeasuredPlan(Document):
    """A plan class whose whole forwards were measured and entered the fit."""

    precision: Precision
    batch: int
    n_attention: int
    n_mlp: int
    cells: tuple[tuple[int, int], ...]
    """(query bucket, attended rows)."""


class CandidateErrors(Document):
    """Relative errors of one way to predict whole forwards, each point predicted without what is named: (median, 90th percentile)."""

    kind: LatencyKind
    by_point: tuple[float, float]
    """Without an eighth of the points, drawn by seed."""
    by_plan: tuple[float, float]
    """Without the plan class."""
    by_context: tuple[float, float]
    """Without the context."""
    beyond: tuple[float, float] | None = None
    """The largest context, from contexts up to half of it; None where nothing that small was measured."""


class LatencyModel(Document):
    """Forward time on one device: a linear part on roofline features and, where it predicts better, tables of ratios to it.

    time_ms = sum_i coefficients[i] * feature_i(point), times the table's ratio for whole forwards; `features` names the feature
    functions of `runtime/latency/features.py`, in order.
    """

    kind: LatencyKind = "bayesian-linear"
    """The candidate that cross-validated best."""
    features: tuple[str, ...]
    coefficients: tuple[float, ...]
    covariance: tuple[tuple[float, ...], ...] = ()
    """Posterior covariance of the coefficients (same order), for an uncertainty with every prediction."""
    noise: float = 0.0
    """Standard deviation of the relative residual."""
    shape: dict[str, float]
    """What the features need of the model and device: see `shape_of` in `runtime/latency/features.py`."""
    tables: tuple[LatencyTable, ...] = ()
    """One a precision and batch, of the kinds that have tables."""
    buckets: tuple[int, ...]
    """Padded query lengths a forward runs at."""
    test_retest: float
    """Median relative difference between two measurements of one point."""
    cv_median_error: float
    cv_p90_error: float
    """Relative error on held-out points, cross-validated."""
    n_points: int
    fitted_context_tokens: tuple[int, int]
    """Smallest and largest context in the fit; outside it a prediction is an extrapolation."""
    measured: tuple[MeasuredPlan, ...] = ()
    """What was measured itself, as far as it entered the fit; () in models of an earlier release."""
    candidates: tuple[CandidateErrors, ...] = ()
    """What was compared, the chosen one among them."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        n, rows = len(self.features), [len(row) for row in self.covariance]
        if len(self.coefficients) != n or rows not in ([], [n] * n):
            raise ValueError(f"a latency model of {n} features needs as many coefficients, and a square covariance")
        return self
