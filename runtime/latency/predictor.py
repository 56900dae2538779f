"""Predicts the latency of a forward from a stored model: plain floats, no library, a table in the hot path.

A linear part on roofline features says what a forward takes of its bytes, operations and launches, and extrapolates. Where a calibration
found that it predicts better, tables of ratios to it say what was measured beside. The model knows nothing of acceptance.
"""

from __future__ import annotations

from math import sqrt
from typing import Any, Literal

from casspec.runtime.latency.features import FEATURES, QUANTISED, attended_tokens, has_head, shape_of
from casspec.runtime.latency.table import RatioTable
from casspec.runtime.model.forward_input import CONTEXT_STEP, QUERY_BUCKETS, bucket
from casspec.runtime.model.plan import Plan
from casspec.runtime.model.target import TargetModel
from casspec.storage.errors import UnsupportedOption
from casspec.storage.schema import LatencyModel, LatencyPoint, Precision

Provenance = Literal["measured", "interpolated", "extrapolated"]

LEAST_MS = 1e-6
"""No forward is predicted to take less."""


class LatencyPredictor:
    """Milliseconds of forwards on the calibrated device, from a stored model.

    `forward_ms` is the fast path: one dictionary look-up after the first call with a (plan, tokens, context step). It predicts
    forwards over `batch` sequences side by side.
    Plans are told apart by name. A precision that the model was not fitted on is predicted as the target's own, a batch by the table
    of the largest measured one below it.

    Raises UnsupportedOption for a model of a later release, whose features nobody knows here.
    """

    def __init__(self, model: LatencyModel, batch: int = 1) -> None:
        unknown = [name for name in model.features if name not in FEATURES]
        if unknown:
            raise UnsupportedOption(
                f"the latency model has features {', '.join(unknown)}, which this casspec does not know: upgrade casspec or run "
                "casspec calibrate again"
            )
        self.model = model
        self.batch = batch
        self._terms = [
            (FEATURES[name], weight) for name, weight in zip(model.features, model.coefficients, strict=True)
        ]
        self._fitted = {Precision.TARGET} | {
            precision for precision in QUANTISED if any(name.startswith(f"{precision}:") for name in model.features)
        }
        self._ratios: dict[Precision, list[RatioTable]] = {}
        for table in sorted(model.tables, key=lambda table: table.batch):
            self._ratios.setdefault(table.precision, []).append(RatioTable(table))
        self._range = MeasuredRange(model)
        self._table: dict[tuple[str, int, int], float] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> LatencyPredictor:
        """Itself: what it predicts never changes."""
        return self

    def predict_ms(self, point: LatencyPoint) -> float:
        point = self._as_fitted(point)
        table = self._ratios_of(point)
        ratio = table.ratio(*_cell(point)) if table else 1.0
        return max(self._linear_ms(point) * ratio, LEAST_MS)

    def uncertainty(self, point: LatencyPoint) -> float:
        """Relative standard deviation of `predict_ms`: posterior of the coefficients, of the table's ratio, and residual noise."""
        point = self._as_fitted(point)
        predicted = max(self._linear_ms(point), LEAST_MS)
        x = [feature(point, self.model.shape) / predicted for feature, _ in self._terms]
        rows = zip(x, self.model.covariance, strict=True) if self.model.covariance else ()
        spread = sum(xi * sum(cij * xj for cij, xj in zip(row, x, strict=True)) for xi, row in rows)
        table = self._ratios_of(point)
        of_ratio = table.spread(*_cell(point)) if table else 0.0
        return sqrt(max(spread, 0.0) + of_ratio**2 + self.model.noise**2)

    def provenance(self, point: LatencyPoint) -> Provenance:
        """Whether a forward like `point` was measured itself, lies between measured ones, or beyond them."""
        return self._range.provenance(point)

    def _linear_ms(self, point: LatencyPoint) -> float:
        return sum(weight * feature(point, self.model.shape) for feature, weight in self._terms)

    def _ratios_of(self, point: LatencyPoint) -> RatioTable | None:
        tables = self._ratios.get(point.precision)
        if not tables or not has_head(point):
            return None
        return next((table for table in reversed(tables) if table.batch <= point.batch), tables[0])

    def _as_fitted(self, point: LatencyPoint) -> LatencyPoint:
        if point.precision in self._fitted:
            return point
        return point.model_copy(update={"precision": Precision.TARGET})

    def forward_ms(self, plan: Plan, n_tokens: int, context_tokens: int) -> float:
        """A whole forward of `plan`, each sequence with `n_tokens` query tokens after `context_tokens` committed rows."""
        key = (plan.name, n_tokens, (context_tokens + n_tokens - 1) // CONTEXT_STEP)
        cost = self._table.get(key)
        if cost is None:
            cost = self._table[key] = self.predict_ms(self.forward_point(plan, n_tokens, context_tokens))
        return cost

    def forward_point(self, plan: Plan, n_tokens: int, context_tokens: int, batch: int | None = None) -> LatencyPoint:
        return LatencyPoint(
            subject="forward",
            n_attention=plan.n_attention,
            n_mlp=plan.n_mlp,
            precision=plan.precision,
            n_tokens=n_tokens,
            context_tokens=context_tokens,
            batch=batch or self.batch,
        )


class MeasuredRange:
    """What a model's fit has seen, as far as the model tells."""

    def __init__(self, model: LatencyModel) -> None:
        self._contexts, self._largest_bucket = model.fitted_context_tokens, model.buckets[-1]
        self._cells = {
            (plan.precision, plan.batch, plan.n_attention, plan.n_mlp, *cell)
            for plan in model.measured
            for cell in plan.cells
        }
        self._precisions = {plan.precision for plan in model.measured}
        self._batches = _ends([plan.batch for plan in model.measured])
        self._attention = _ends([plan.n_attention for plan in model.measured])
        self._mlp = _ends([plan.n_mlp for plan in model.measured])

    def provenance(self, point: LatencyPoint) -> Provenance:
        """Of a forward; a model that does not tell what was measured knows the range of contexts and buckets only."""
        if has_head(point) and (point.precision, point.batch, *_cell(point)) in self._cells:
            return "measured"
        inside = _within(self._contexts, point.context_tokens) and point.n_tokens <= self._largest_bucket
        if self._cells:
            plan_inside = _within(self._attention, point.n_attention) and _within(self._mlp, point.n_mlp)
            inside = inside and plan_inside and point.precision in self._precisions
        return "interpolated" if inside and _within(self._batches, point.batch) else "extrapolated"


def _ends(values: list[int]) -> tuple[int, int]:
    return (min(values), max(values)) if values else (1, 1)


def _within(ends: tuple[int, int], value: int) -> bool:
    return ends[0] <= value <= ends[1]


def _cell(point: LatencyPoint) -> tuple[int, int, int, int]:
    return point.n_attention, point.n_mlp, bucket(point.n_tokens), attended_tokens(point)


def builtin_latency(target: TargetModel) -> LatencyModel:
    """Coefficients for use without a profile: only the ratios between its predictions matter to a policy."""
    weights = {
        "attention_launches": 10.0,
        "mlp_launches": 7.0,
        "weight_bytes": 1.0,
        "attention_operations": 1.0,
        "mlp_operations": 1.0,
        "head_operations": 1.0,
        "context_bytes": 1.0,
        "int8-dynamic:attention_launches": 14.0,
        "int8-dynamic:mlp_launches": 11.0,
        "int8-dynamic:weight_bytes": 1.0,
        "int8-dynamic:operations": 0.5,
        "int4-weight:attention_launches": 10.0,
        "int4-weight:mlp_launches": 7.0,
        "int4-weight:weight_bytes": 1.5,
        "int4-weight:operations": 3.0,
    }
    ceilings = (30.0, 1.0, 5.0) if target.device.type == "cpu" else (1500.0, 150.0, 5.0)
    return LatencyModel(
        features=tuple(weights),
        coefficients=tuple(weights.values()),
        noise=0.3,
        shape=shape_of(target, *ceilings),
        buckets=QUERY_BUCKETS,
        test_retest=0.0,
        cv_median_error=0.0,
        cv_p90_error=0.0,
        n_points=0,
        fitted_context_tokens=(0, 0),
    )
