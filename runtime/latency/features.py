"""Roofline features of a forward (Williams et al. 2009): what the linear part of a latency model weighs.

A forward takes at least the time to read its bytes and the time to do its operations, plus a launch per sub-layer. Each feature is a
time in milliseconds at the device's ceilings, so its coefficient says how far from the ceiling that part runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from casspec.runtime.model.forward_input import CONTEXT_STEP, bucket
from casspec.runtime.model.target import TargetModel
from casspec.storage.schema import LatencyPoint, Precision

Shape = Mapping[str, float]
"""Numbers the features need: see `shape_of`."""

Feature = Callable[[LatencyPoint, Shape], float]

QUANTISED = tuple(precision for precision in Precision if precision is not Precision.TARGET)

KNOTS = (2, 4, 8, 16)
"""Query rows past which the operations of a quantised kernel may cost more than before."""


def shape_of(target: TargetModel, bandwidth_gb_per_s: float, tflops: float, launch_us: float) -> dict[str, float]:
    """What roofline features need of a model and a device.

    Bytes are those of one sub-layer's weights (or the head's) and of one cached row; operations are multiply-adds times
    two for one token; `ms_per_byte`, `ms_per_operation` and `launch_ms` are the device's measured ceilings. Packed weights have
    their own bytes, `int8-dynamic:mlp_bytes` for instance.
    """
    return target.costs() | {
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


def has_head(point: LatencyPoint) -> int:
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
    return body + _bytes_ms(has_head(point), "head", shape)


def _is_single_query(point: LatencyPoint) -> bool:
    return padded_tokens(point) == point.batch


def _context_bytes_ms(point: LatencyPoint, shape: Shape) -> float:
    rows = point.n_attention * point.batch * attended_tokens(point)
    return rows * shape["row_bytes"] * shape["ms_per_byte"]


def _scores_ms(point: LatencyPoint, shape: Shape) -> float:
    pairs = point.n_attention * padded_tokens(point) * attended_tokens(point)
    return pairs * shape["score_operations"] * shape["ms_per_operation"]


def roofline_of(point: LatencyPoint, shape: Shape) -> tuple[float, float]:
    """(operations, bytes read) of a point at the target's own precision: weights, cached rows and scores."""
    operations = sum(
        _operations_ms(n, part, point, shape)
        for n, part in ((point.n_attention, "attention"), (point.n_mlp, "mlp"), (has_head(point), "head"))
    )
    n_bytes = _weight_bytes_ms(point, shape) + _context_bytes_ms(point, shape)
    return (operations + _scores_ms(point, shape)) / shape["ms_per_operation"], n_bytes / shape["ms_per_byte"]


_TARGET_WEIGHTS: dict[str, Feature] = {
    "attention_launches": lambda point, shape: point.n_attention * shape["launch_ms"],
    "mlp_launches": lambda point, shape: point.n_mlp * shape["launch_ms"],
    "weight_bytes": _weight_bytes_ms,
    "attention_operations": lambda point, shape: _operations_ms(point.n_attention, "attention", point, shape),
    "mlp_operations": lambda point, shape: _operations_ms(point.n_mlp, "mlp", point, shape),
    "head_operations": lambda point, shape: _operations_ms(has_head(point), "head", point, shape),
    "attention_roofline": lambda point, shape: _roofline_ms(point.n_attention, "attention", point, shape),
    "mlp_roofline": lambda point, shape: _roofline_ms(point.n_mlp, "mlp", point, shape),
    "head_roofline": lambda point, shape: _roofline_ms(has_head(point), "head", point, shape),
    "weights_several_queries": lambda point, shape: _weight_bytes_ms(point, shape) * (not _is_single_query(point)),
}

_CONTEXT: dict[str, Feature] = {
    "constant": lambda point, shape: shape["launch_ms"],
    "context_bytes": _context_bytes_ms,
    "context_x_tokens": _scores_ms,
    "context_roofline": lambda point, shape: max(_context_bytes_ms(point, shape), _scores_ms(point, shape)),
    "context_single_query": lambda point, shape: _context_bytes_ms(point, shape) * _is_single_query(point),
    "context_several_queries": lambda point, shape: _context_bytes_ms(point, shape) * (not _is_single_query(point)),
}
"""The same whatever precision the linears have."""


def _quantised_weights(precision: Precision) -> dict[str, Feature]:
    """What linears of a precision add: launches, bytes, and operations whose price may rise with the rows.

    Kernels of few bits leave the memory-bound regime at a few rows, each at its own, and no ceiling of theirs is measured. A sum of hinges
    with coefficients >= 0 is any convex function of the rows, a roofline among them.
    """

    def packed(shape: Shape, part: str) -> float:
        return shape[f"{precision}:{part}_bytes"] * shape["ms_per_byte"]

    def weight_bytes(point: LatencyPoint, shape: Shape) -> float:
        body = point.n_attention * packed(shape, "attention") + point.n_mlp * packed(shape, "mlp")
        return body + has_head(point) * packed(shape, "head")

    def operations_beyond(knot: int) -> Feature:
        def milliseconds(point: LatencyPoint, shape: Shape) -> float:
            body = point.n_attention * shape["attention_operations"] + point.n_mlp * shape["mlp_operations"]
            operations = body + has_head(point) * shape["head_operations"]
            return max(padded_tokens(point) - knot, 0) * operations * shape["ms_per_operation"]

        return milliseconds

    return {
        "attention_launches": lambda point, shape: point.n_attention * shape["launch_ms"],
        "mlp_launches": lambda point, shape: point.n_mlp * shape["launch_ms"],
        "weight_bytes": weight_bytes,
        "weights_several_queries": lambda point, shape: weight_bytes(point, shape) * (not _is_single_query(point)),
        "operations": operations_beyond(0),
    } | {f"operations_beyond_{knot}": operations_beyond(knot) for knot in KNOTS}


def _only_at(precision: Precision, feature: Feature) -> Feature:
    return lambda point, shape: feature(point, shape) if point.precision is precision else 0.0


FEATURES: dict[str, Feature] = (
    _CONTEXT
    | {name: _only_at(Precision.TARGET, feature) for name, feature in _TARGET_WEIGHTS.items()}
    | {
        f"{precision}:{name}": _only_at(precision, feature)
        for precision in QUANTISED
        for name, feature in _quantised_weights(precision).items()
    }
)
"""Feature functions by the names a stored `LatencyModel` lists; each returns milliseconds.

Weights count at their own precision only: one without a prefix at the target's, `int4-weight:weight_bytes` in 4 bits.
Kernels for a single query differ from those for several, in either direction: on one CPU they read the context slower
in bfloat16 and the weights faster in float32. Hence the terms that count for one of the two only."""
