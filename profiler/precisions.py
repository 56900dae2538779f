"""Which precisions are worth drafting in on this device: those whose kernels beat the target's own at some query length.

A quantised plan is a second copy of the linears, so it has to earn its memory. A precision that cannot run, does not fit, or is
hopeless for a single token (some kernels are loops written for reference) is told so and not measured further; the others are measured
over the query lengths that drafts and reviews of a tree have, and offered when one of them gains.
"""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median

from pydantic import Field

from casspec.profiler.probes import Probes
from casspec.profiler.timing import Timer
from casspec.runtime.model.target import TargetModel
from casspec.storage.document import Document
from casspec.storage.schema import LatencyPoint, LatencySample, Precision

QUERY_TOKENS = (1, 2, 4, 8, 16, 32)
"""Query lengths of drafts and of reviews."""

LARGEST_OFFERED_RATIO = 0.95
"""A forward must take at most this share of the target's to count as faster: what is nearer is lost in the noise."""

HOPELESS_RATIO = 2.0
"""Of one token: a kernel this slow where it has least to do gains nowhere."""

SCREENING_ROUNDS = 5


class PrecisionVerdict(Document):
    """Whether plans of a precision are offered, and what was measured to say so."""

    precision: Precision
    reason: str | None = None
    """Why it is not offered; None when it is."""
    extra_bytes: int = 0
    """Of the packed weights; 0 where they cannot be made."""
    ratios: dict[int, float] = Field(default_factory=dict)
    """Time of a forward over the target's, all sub-layers and head, by query tokens."""


def screen(target: TargetModel, precision: Precision, timer: Timer) -> PrecisionVerdict:
    """A first verdict from one query token alone; weights packed for a refused precision are released."""
    reason = target.refusal(precision)
    if reason:
        return PrecisionVerdict(precision=precision, reason=reason)
    ratio = _ratio_of_one_token(target, precision, timer)
    if ratio > HOPELESS_RATIO:
        target.release(precision)
        reason = f"no kernel beats the target's own: {ratio:.1f} times its time for one query token"
    return PrecisionVerdict(
        precision=precision, reason=reason, extra_bytes=target.extra_bytes(precision), ratios={1: ratio}
    )


def judge(first: PrecisionVerdict, samples: Iterable[LatencySample]) -> PrecisionVerdict:
    """The verdict from whole forwards at all query lengths; a refusal stands."""
    if first.reason:
        return first
    ratios = forward_ratios(first.precision, samples)
    best, reason = min(ratios.values()), None
    if best > LARGEST_OFFERED_RATIO:
        lengths = f"{min(ratios)} to {max(ratios)} query tokens"
        reason = f"no kernel beats the target's own: at best {best:.2f} of its time over {lengths}"
    return first.model_copy(update={"reason": reason, "ratios": ratios})


def forward_ratios(precision: Precision, samples: Iterable[LatencySample]) -> dict[int, float]:
    """Median over contexts of forward time at `precision` over the target's, by query tokens of one sequence; contexts measured for both
    count."""
    times = {
        (sample.point.precision, sample.point.n_tokens, sample.point.context_tokens): sample.measurement.median_ms
        for sample in samples
        if sample.point.subject == "forward" and sample.point.batch == 1
    }
    ratios: dict[int, list[float]] = {}
    for (measured, tokens, context), milliseconds in sorted(times.items()):
        own = times.get((Precision.TARGET, tokens, context))
        if measured is precision and own is not None:
            ratios.setdefault(tokens, []).append(milliseconds / own)
    return {tokens: median(found) for tokens, found in ratios.items()}


def _ratio_of_one_token(target: TargetModel, precision: Precision, timer: Timer) -> float:
    """Timed in turns, so that a slow moment falls on both."""
    layers = target.n_layers
    points = [
        LatencyPoint(subject="forward", n_attention=layers, n_mlp=layers, precision=each, n_tokens=1, context_tokens=0)
        for each in (Precision.TARGET, precision)
    ]
    probes = Probes(target, points)
    calls = [probes.call(point) for point in points]
    times: list[list[float]] = [[], []]
    for call in calls:
        timer.time_ms(call, 2)
    for _ in range(SCREENING_ROUNDS):
        for call, values in zip(calls, times, strict=True):
            values += timer.time_ms(call, 2)
    own, quantised = map(median, times)
    return quantised / own
