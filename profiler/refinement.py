"""Points worth measuring beside a design: where the model fitted to it is most unsure (active learning, MacKay 1992).

Uncertainty is that of the linear part's coefficients and of the interpolated ratios together. Points are taken one by one, each as if the
ones before had been measured, so that they do not crowd in one corner. What was measured decides, so a resumed run picks the same ones.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import product

import numpy as np

from casspec.profiler.design import VERIFY_BUCKETS, Design
from casspec.profiler.fit.candidates import InterpolatedRatios, plan_lines
from casspec.profiler.fit.regression import bayesian
from casspec.profiler.precisions import QUERY_TOKENS
from casspec.runtime.latency.features import Shape, has_head
from casspec.storage.schema import LatencyPoint, LatencySample, Precision

REFINING_POINTS = 16
POOL_POINTS = 400
"""Of all that could be measured, drawn by seed."""


def refining_points(
    samples: Sequence[LatencySample], shape: Shape, plan: Design, seed: int = 0, count: int = REFINING_POINTS
) -> list[LatencyPoint]:
    """`count` points to measure besides those of `plan`.

    Args:
        samples: of the fitted points of `plan`.
    """
    pool = _pool(plan, seed)
    linear = bayesian(samples, shape)
    ratios = InterpolatedRatios([sample for sample in samples if has_head(sample.point)], shape, linear)
    rows = linear.rows(pool, shape) / linear.predict_ms(pool, shape)[:, None]
    covariance = rows @ linear.covariance @ rows.T + ratios.covariance(pool)
    chosen: list[int] = []
    for _ in range(min(count, len(pool))):
        unsure = covariance.diagonal().copy()
        unsure[chosen] = -np.inf
        best = int(np.argmax(unsure))
        chosen.append(best)
        column = covariance[:, best].copy()
        covariance -= np.outer(column, column) / (column[best] + linear.noise**2)
    return [pool[index] for index in chosen]


def _pool(plan: Design, seed: int) -> list[LatencyPoint]:
    """Whole forwards of all plans on the grid, at the query buckets and contexts of the design, none of them in it."""
    whole = [point for point in plan.fitted if has_head(point) and point.batch == 1]
    layers = max(point.n_attention for point in whole)
    contexts = sorted({point.context_tokens for point in whole})
    lines = plan_lines(layers)
    taken = set(plan.points)
    pool = []
    for precision in dict.fromkeys(point.precision for point in whole):
        tokens = VERIFY_BUCKETS if precision is Precision.TARGET else QUERY_TOKENS
        for n_attention, n_mlp, n_tokens, context in product(lines, lines, tokens, contexts):
            point = LatencyPoint(
                subject="forward" if n_attention == n_mlp == layers else "drafter",
                n_attention=n_attention,
                n_mlp=n_mlp,
                precision=precision,
                n_tokens=n_tokens,
                context_tokens=context,
            )
            if point not in taken:
                pool.append(point)
    return random.Random(seed).sample(pool, min(POOL_POINTS, len(pool)))
