"""Which points to measure: few, placed where they decide the fit.

A forward is a sum over sub-layers, so four kinds of points are enough: attention alone and MLP alone over query tokens
(attention over contexts too), whole drafters with some sub-layers left out, and verification over all query buckets and
contexts in a checkerboard whose edges are complete. Cells between the grid lines are drawn by seed and held out of the
fit: they say how well it predicts what it has not seen. Quantised plans share attention and cache with the target's own; what their
linears cost takes whole forwards over the query lengths of drafts and reviews, and a few plans that leave sub-layers out. Batches
take whole forwards over few query lengths and contexts. Points where the fit is most unsure are added by `refinement.py`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, product
from typing import Literal

from casspec.profiler.precisions import QUERY_TOKENS
from casspec.runtime.latency.predictor import LatencyPredictor
from casspec.runtime.model.forward_input import CONTEXT_STEP, QUERY_BUCKETS, bucket
from casspec.runtime.model.target import TargetModel
from casspec.storage.errors import UnsupportedOption
from casspec.storage.schema import LatencyModel, LatencyPoint, Precision

Subject = Literal["attention", "mlp", "drafter", "forward"]

VERIFY_BUCKETS = tuple(size for size in QUERY_BUCKETS if size <= 128)
"""Query lengths of trees; longer ones occur in prefill only, whose time no policy weighs."""

LARGEST_CONTEXT = 2048
"""By default; contexts beyond are extrapolated, and predictions say so."""

CONTEXT_FRACTIONS = (0.0, 1 / 16, 1 / 4, 1 / 2, 1.0)
ATTENTION_TOKENS = (1, 2, 8, 24, 64)
MLP_TOKENS = (1, 2, 4, 12, 32, 96)
DRAFTER_TOKENS = (1, 2, 6, 16, 48)
"""Of chains and of reviews of a tree."""
DRAFTER_FRACTIONS = ((0.5, 0.5), (0.25, 0.25), (0.75, 0.75), (0.25, 0.75), (0.75, 0.25))
"""Shares of attention and MLP sub-layers that a measured drafter keeps."""

QUANTISED_DRAFTER_TOKENS = (1, 6)
QUANTISED_FRACTIONS = ((0.5, 0.5), (0.25, 0.75), (0.75, 0.25))

LARGEST_BATCH = 32
BATCH_TOKENS = (1, 2, 4, 12)
BATCH_DRAFTER_TOKENS = (1,)
LARGEST_BATCH_ROWS = 64
"""Query rows of all sequences together: what a batch of trees may reach, which are smaller the more of them there are."""

HELD_OUT_FORWARDS = 10
HELD_OUT_DRAFTERS = 6
HELD_OUT_QUANTISED = 3
"""A precision."""
HELD_OUT_BATCHED = 2
"""A batch."""
LEAST_SHARE = 0.25
"""Of its sub-layers that a held-out drafter keeps, as the leanest measured ones do."""


@dataclass(frozen=True, slots=True)
class Design:
    """Points of one calibration; `held_out` never enter the fit."""

    fitted: tuple[LatencyPoint, ...]
    held_out: tuple[LatencyPoint, ...]

    @property
    def points(self) -> tuple[LatencyPoint, ...]:
        return self.fitted + self.held_out


def design(
    target: TargetModel,
    seed: int = 0,
    largest_context: int = LARGEST_CONTEXT,
    precisions: Sequence[Precision] = (),
    batches: Mapping[int, int] | None = None,
) -> Design:
    """The points for a model; the same ones for the same arguments.

    Args:
        precisions: those to measure beside the target's own.
        batches: batches beyond 1, each with the largest number of cache rows a sequence of it may have.

    Raises UnsupportedOption for a model whose context is shorter than the largest tree.
    """
    if target.max_context < VERIFY_BUCKETS[-1]:
        raise UnsupportedOption(
            f"a context of {target.max_context} tokens is too short to calibrate, for trees of {VERIFY_BUCKETS[-1]} are measured; "
            "take a model with a longer one"
        )
    contexts = contexts_of(target, largest_context)
    shares = {
        batch: tuple(context for context in contexts if context + VERIFY_BUCKETS[-1] <= rows)
        for batch, rows in (batches or {}).items()
    }
    grid = chain(
        _sub_layers(target, contexts),
        _drafters(target, contexts),
        _forwards(target, contexts),
        *(_quantised(target, contexts, precision) for precision in precisions),
        *(_batched(target, fitting, batch) for batch, fitting in shares.items()),
    )
    fitted = tuple(dict.fromkeys(grid))
    dice = random.Random(seed)
    held_out = [
        *_held_out(target, contexts, dice),
        *_held_out_quantised(target, contexts, precisions, dice),
        *_held_out_batched(target, shares, dice),
    ]
    drawn = dict.fromkeys(held_out)
    return Design(fitted, tuple(point for point in drawn if point not in fitted))


def batches_up_to(largest: int) -> tuple[int, ...]:
    """2, 4, 8 ... and `largest` itself; () for 1."""
    doubled = [2**power for power in range(1, LARGEST_BATCH.bit_length()) if 2**power < largest]
    return (*doubled, largest) if largest > 1 else ()


def estimate_seconds(points: Sequence[LatencyPoint], model: LatencyModel, calls_a_point: int) -> float:
    """What `calls_a_point` forwards of every point take, as `model` predicts (before a fit: the built-in one)."""
    predictor = LatencyPredictor(model)
    return sum(predictor.predict_ms(point) for point in points) * calls_a_point / 1e3


def contexts_of(target: TargetModel, largest_context: int) -> tuple[int, ...]:
    """Committed rows to measure at, multiples of CONTEXT_STEP; the largest tree still fits the model's context."""
    limit = min(largest_context, target.max_context - VERIFY_BUCKETS[-1])
    steps = {int(fraction * limit) // CONTEXT_STEP for fraction in CONTEXT_FRACTIONS} if limit > 0 else {0}
    return tuple(step * CONTEXT_STEP for step in sorted(steps))


def _point(
    subject: Subject,
    n_attention: int,
    n_mlp: int,
    n_tokens: int,
    context_tokens: int,
    precision: Precision = Precision.TARGET,
    batch: int = 1,
) -> LatencyPoint:
    return LatencyPoint(
        subject=subject,
        n_attention=n_attention,
        n_mlp=n_mlp,
        n_tokens=n_tokens,
        context_tokens=context_tokens,
        precision=precision,
        batch=batch,
    )


def _sub_layers(target: TargetModel, contexts: tuple[int, ...]) -> Iterator[LatencyPoint]:
    edges = sorted({contexts[0], contexts[len(contexts) // 2], contexts[-1]})
    for tokens, context in product(ATTENTION_TOKENS, edges):
        yield _point("attention", target.n_layers, 0, tokens, context)
    for tokens in MLP_TOKENS:
        yield _point("mlp", 0, target.n_layers, tokens, 0)


def _drafter_sizes(target: TargetModel, fractions: Sequence[tuple[float, float]]) -> list[tuple[int, int]]:
    layers = target.n_layers
    return [(max(1, round(a * layers)), max(1, round(m * layers))) for a, m in fractions]


def _drafters(target: TargetModel, contexts: tuple[int, ...]) -> Iterator[LatencyPoint]:
    for i, (n_attention, n_mlp) in enumerate(_drafter_sizes(target, DRAFTER_FRACTIONS)):
        for j, tokens in enumerate(DRAFTER_TOKENS):
            for k, context in enumerate(contexts[1:] or contexts):
                if (i + j + k) % 3 == 0:
                    yield _point("drafter", n_attention, n_mlp, tokens, context)


def _forwards(target: TargetModel, contexts: tuple[int, ...]) -> Iterator[LatencyPoint]:
    last_bucket, last_context = len(VERIFY_BUCKETS) - 1, len(contexts) - 1
    for i, tokens in enumerate(VERIFY_BUCKETS):
        for j, context in enumerate(contexts):
            edge = i in (0, last_bucket) or j in (0, last_context)
            if edge or (i + j) % 2 == 0:
                yield _point("forward", target.n_layers, target.n_layers, tokens, context)


def _quantised(target: TargetModel, contexts: tuple[int, ...], precision: Precision) -> Iterator[LatencyPoint]:
    """Whole forwards at contexts where the target's own are measured too, so that they can be compared."""
    layers = target.n_layers
    for tokens, context in product(QUERY_TOKENS, sorted({contexts[0], contexts[-1]})):
        yield _point("forward", layers, layers, tokens, context, precision)
    middle = contexts[len(contexts) // 2]
    for (n_attention, n_mlp), tokens in product(_drafter_sizes(target, QUANTISED_FRACTIONS), QUANTISED_DRAFTER_TOKENS):
        yield _point("drafter", n_attention, n_mlp, tokens, middle, precision)


def _batched(target: TargetModel, contexts: tuple[int, ...], batch: int) -> Iterator[LatencyPoint]:
    """Whole forwards of the target and of a plan with half its sub-layers."""
    if not contexts:
        return
    layers, half = target.n_layers, max(1, round(target.n_layers / 2))
    edges = sorted({contexts[0], contexts[len(contexts) // 2], contexts[-1]})
    for tokens, context in product(BATCH_TOKENS, edges):
        if bucket(tokens) * batch <= LARGEST_BATCH_ROWS and (tokens == 1 or context in (edges[0], edges[-1])):
            yield _point("forward", layers, layers, tokens, context, batch=batch)
    for tokens in BATCH_DRAFTER_TOKENS:
        yield _point("drafter", half, half, tokens, edges[-1], batch=batch)


def _held_out_batched(
    target: TargetModel, contexts: Mapping[int, tuple[int, ...]], dice: random.Random
) -> Iterator[LatencyPoint]:
    for batch, fitting in contexts.items():
        for _ in range(HELD_OUT_BATCHED if fitting else 0):
            tokens = dice.randint(1, max(size for size in BATCH_TOKENS if size * batch <= LARGEST_BATCH_ROWS))
            yield _point("forward", target.n_layers, target.n_layers, tokens, dice.randint(0, fitting[-1]), batch=batch)


def _held_out_quantised(
    target: TargetModel, contexts: tuple[int, ...], precisions: Sequence[Precision], dice: random.Random
) -> Iterator[LatencyPoint]:
    for precision in precisions:
        for _ in range(HELD_OUT_QUANTISED):
            n_attention, n_mlp = _drawn_size(target, dice), _drawn_size(target, dice)
            tokens, context = dice.randint(1, QUERY_TOKENS[-1]), dice.randint(0, contexts[-1])
            yield _point("drafter", n_attention, n_mlp, tokens, context, precision)


def _held_out(target: TargetModel, contexts: tuple[int, ...], dice: random.Random) -> Iterator[LatencyPoint]:
    for _ in range(HELD_OUT_FORWARDS):
        tokens, context = dice.randint(1, VERIFY_BUCKETS[-1]), dice.randint(0, contexts[-1])
        yield _point("forward", target.n_layers, target.n_layers, tokens, context)
    for _ in range(HELD_OUT_DRAFTERS):
        n_attention, n_mlp = _drawn_size(target, dice), _drawn_size(target, dice)
        yield _point("drafter", n_attention, n_mlp, dice.choice((1, 2, 3, 6)), dice.randint(0, contexts[-1]))


def _drawn_size(target: TargetModel, dice: random.Random) -> int:
    return dice.randint(max(1, round(LEAST_SHARE * target.n_layers)), target.n_layers)
