"""Predicts the latency of a forward from a profile's coefficients: plain floats, no library, a table in the hot path.

The features are rooflines (Williams et al. 2009): a forward takes at least the time to read its bytes and the time to
do its operations, plus a launch per sub-layer. Each is a time in milliseconds at the device's ceilings, so its
coefficient says how far from the ceiling that part runs. The model knows nothing of acceptance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import sqrt

from casspec.runtime.dsia import Plan
from casspec.runtime.target import CONTEXT_STEP, QUERY_BUCKETS, TargetModel, bucket
from casspec.storage.schema import LatencyModel, LatencyPoint

Shape = Mapping[str, float]
"""Numbers the features need: see `shape_of`."""


def shape_of(target: TargetModel, bandwidth_gb_per_s: float, tflops: float, launch_us: float) -> dict[str, float]:
    """What roofline features need of a model and a device.

    Bytes are those of one sub-layer's weights (or the head's) and of one cached row; operations are multiply-adds times
    two for one token; `ms_per_byte`, `ms_per_operation` and `launch_ms` are the device's measured ceilings.
    """
    element = target.embedding.element_size()
    heads, kv_heads, head_dim, hidden = target.n_heads, target.n_kv_heads, target.head_dim, target.hidden_size
    attention = hidden * (heads + 2 * kv_heads) * head_dim + heads * head_dim * hidden
    mlp = 3 * hidden * target.intermediate_size
    head = hidden * target.vocab_size
    return {
        "attention_bytes": attention * element,
        "mlp_bytes": mlp * element,
        "head_bytes": head * element,
        "row_bytes": 2 * kv_heads * head_dim * element,
        "attention_operations": 2.0 * attention,
        "mlp_operations": 2.0 * mlp,
        "head_operations": 2.0 * head,
        "score_operations": 4.0 * heads * head_dim,
        "ms_per_byte": 1e-6 / bandwidth_gb_per_s,
        "ms_per_operation": 1e-9 / tflops,
        "launch_ms": launch_us / 1e3,
    }


def padded_tokens(point: LatencyPoint) -> int:
    """Query rows a forward really runs: the bucket of its tokens, times the batch."""
    return bucket(point.n_tokens) * point.batch


def attended_tokens(point: LatencyPoint) -> int:
    """Cache rows a query attends to, rounded up as the forward does."""
    return -(-(point.context_tokens + point.n_tokens) // CONTEXT_STEP) * CONTEXT_STEP


def _has_head(point: LatencyPoint) -> int:
    """1 for a whole forward, 0 for sub-layers alone."""
    return int(point.subject in ("drafter", "forward"))


def _bytes_ms(n: int, part: str, shape: Shape) -> float:
    return n * shape[f"{part}_bytes"] * shape["ms_per_byte"]


def _operations_ms(n: int, part: str, point: LatencyPoint, shape: Shape) -> float:
    return n * padded_tokens(point) * shape[f"{part}_operations"] * shape["ms_per_operation"]


def _roofline_ms(n: int, part: str, point: LatencyPoint, shape: Shape) -> float:
    """Time of `n` weight-bound parts at the ceilings: the slower of reading their bytes and doing their operations."""
    return max(_bytes_ms(n, part, shape), _operations_ms(n, part, point, shape))


def _weight_bytes_ms(point: LatencyPoint, shape: Shape) -> float:
    body = _bytes_ms(point.n_attention, "attention", shape) + _bytes_ms(point.n_mlp, "mlp", shape)
    return body + _bytes_ms(_has_head(point), "head", shape)


def _is_single_query(point: LatencyPoint) -> bool:
    return padded_tokens(point) == point.batch


def _context_bytes_ms(point: LatencyPoint, shape: Shape) -> float:
    rows = point.n_attention * point.batch * attended_tokens(point)
    return rows * shape["row_bytes"] * shape["ms_per_byte"]


def _scores_ms(point: LatencyPoint, shape: Shape) -> float:
    pairs = point.n_attention * padded_tokens(point) * attended_tokens(point)
    return pairs * shape["score_operations"] * shape["ms_per_operation"]


FEATURES: dict[str, Callable[[LatencyPoint, Shape], float]] = {
    "constant": lambda point, shape: shape["launch_ms"],
    "attention_launches": lambda point, shape: point.n_attention * shape["launch_ms"],
    "mlp_launches": lambda point, shape: point.n_mlp * shape["launch_ms"],
    "weight_bytes": _weight_bytes_ms,
    "attention_operations": lambda point, shape: _operations_ms(point.n_attention, "attention", point, shape),
    "mlp_operations": lambda point, shape: _operations_ms(point.n_mlp, "mlp", point, shape),
    "head_operations": lambda point, shape: _operations_ms(_has_head(point), "head", point, shape),
    "attention_roofline": lambda point, shape: _roofline_ms(point.n_attention, "attention", point, shape),
    "mlp_roofline": lambda point, shape: _roofline_ms(point.n_mlp, "mlp", point, shape),
    "head_roofline": lambda point, shape: _roofline_ms(_has_head(point), "head", point, shape),
    "context_bytes": _context_bytes_ms,
    "context_x_tokens": _scores_ms,
    "context_roofline": lambda point, shape: max(_context_bytes_ms(point, shape), _scores_ms(point, shape)),
    "context_single_query": lambda point, shape: _context_bytes_ms(point, shape) * _is_single_query(point),
    "context_several_queries": lambda point, shape: _context_bytes_ms(point, shape) * (not _is_single_query(point)),
    "weights_several_queries": lambda point, shape: _weight_bytes_ms(point, shape) * (not _is_single_query(point)),
}
"""Feature functions by the names a stored `LatencyModel` lists; each returns milliseconds.

Kernels for a single query differ from those for several, in either direction: on one CPU they read the context slower
in bfloat16 and the weights faster in float32. Hence the terms that count for one of the two only."""


class LatencyPredictor:
    """Milliseconds of forwards on the calibrated device, from a stored model.

    `forward_ms` is the fast path: one dictionary look-up after the first call with a (plan, tokens, context step).
    Plans are told apart by name.
    """

    def __init__(self, model: LatencyModel) -> None:
        unknown = [name for name in model.features if name not in FEATURES]
        if unknown:
            raise ValueError(f"unknown latency features {unknown}; known: {sorted(FEATURES)}")
        self.model = model
        self._terms = [
            (FEATURES[name], weight) for name, weight in zip(model.features, model.coefficients, strict=True)
        ]
        self._table: dict[tuple[str, int, int], float] = {}

    def predict_ms(self, point: LatencyPoint) -> float:
        return max(sum(weight * feature(point, self.model.shape) for feature, weight in self._terms), 1e-6)

    def uncertainty(self, point: LatencyPoint) -> float:
        """Relative standard deviation of `predict_ms`: posterior of the coefficients plus residual noise."""
        predicted = self.predict_ms(point)
        x = [feature(point, self.model.shape) / predicted for feature, _ in self._terms]
        spread = sum(
            xi * sum(cij * xj for cij, xj in zip(row, x, strict=True))
            for xi, row in zip(x, self.model.covariance, strict=True)
        )
        return sqrt(spread + self.model.noise**2)

    def provenance(self, point: LatencyPoint) -> str:
        """ "interpolated" inside the fitted contexts and buckets, "extrapolated" outside."""
        low, high = self.model.fitted_context_tokens
        inside = low <= point.context_tokens <= high and point.n_tokens <= self.model.buckets[-1]
        return "interpolated" if inside else "extrapolated"

    def forward_ms(self, plan: Plan, n_tokens: int, context_tokens: int) -> float:
        """A whole forward of `plan` over `n_tokens` query tokens after `context_tokens` committed rows."""
        key = (plan.name, n_tokens, (context_tokens + n_tokens - 1) // CONTEXT_STEP)
        cost = self._table.get(key)
        if cost is None:
            point = LatencyPoint(
                subject="forward",
                n_attention=plan.n_attention,
                n_mlp=plan.n_mlp,
                precision=plan.precision,
                n_tokens=n_tokens,
                context_tokens=context_tokens,
            )
            cost = self._table[key] = self.predict_ms(point)
        return cost


def builtin_latency(target: TargetModel) -> LatencyModel:
    """Coefficients for use without a profile: only the ratios between its predictions matter to a policy."""
    features = (
        "attention_launches",
        "mlp_launches",
        "weight_bytes",
        "attention_operations",
        "mlp_operations",
        "head_operations",
        "context_bytes",
    )
    ceilings = (30.0, 1.0, 5.0) if target.device.type == "cpu" else (1500.0, 150.0, 5.0)
    return LatencyModel(
        features=features,
        coefficients=(10.0, 7.0, 1.0, 1.0, 1.0, 1.0, 1.0),
        noise=0.3,
        shape=shape_of(target, *ceilings),
        buckets=QUERY_BUCKETS,
        test_retest=0.0,
        cv_median_error=0.0,
        cv_p90_error=0.0,
        n_points=0,
        fitted_context_tokens=(0, 0),
    )
