"""Figures of answers: speed, quantiles, and the interval of a ratio from pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from casspec.storage.engines.documents import EngineMeasurement, EngineSetting
from casspec.tuner.engines.endpoint import Answer, Drive
from casspec.tuner.engines.metrics import Counters

CONFIDENCE = 0.9
"""Of every interval, both sides together."""

QUANTILES_95 = (6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833, 1.812, 1.796, 1.782, 1.771, 1.761, 1.753)
"""Of Student's t, one-sided 95 %, for 1, 2 ... degrees of freedom."""
NORMAL_95 = 1.645


@dataclass(frozen=True)
class Interval:
    """A middle, and where it lies with a confidence of 90 %. `n`: pairs that it comes from; of one pair nothing bounds it."""

    middle: float
    low: float
    high: float
    n: int


def ratio(pairs: Sequence[tuple[float, float]]) -> Interval:
    """First over second of pairs that were measured one after the other: geometric mean, and Student's interval of its logarithm."""
    return ratio_by_round([pairs])


def ratio_by_round(rounds: Sequence[Sequence[tuple[float, float]]]) -> Interval:
    """The same of pairs that were measured in rounds, with new starts of both in each.

    Pairs of one round share two starts: whatever a start was lucky in, all of them have. So from two rounds on the interval is Student's
    of the rounds' means, which vary by starts and pairs alike. Two or three means may agree by chance; therefore it is never narrower than
    what all pairs would give if each had starts of its own. A single round says nothing of starts: its interval is of its pairs alone.
    """
    logs = [[math.log(first / second) for first, second in pairs] for pairs in rounds if pairs]
    flat = [each for one in logs for each in one]
    if not flat:
        raise ValueError("a ratio needs a pair")
    if len(flat) == 1:
        return Interval(math.exp(flat[0]), 0.0, math.inf, 1)
    means = [float(np.mean(one)) for one in logs]
    middle = float(np.mean(means))
    wide = max(_half_width(flat), _half_width(means) if len(means) > 1 else 0.0)
    return Interval(math.exp(middle), math.exp(middle - wide), math.exp(middle + wide), len(flat))


def _half_width(values: Sequence[float]) -> float:
    """Of Student's interval of their mean."""
    return _quantile(len(values) - 1) * float(np.std(values, ddof=1)) / math.sqrt(len(values))


def _quantile(freedom: int) -> float:
    """Beyond the table by the first term of Fisher's expansion, good to 0.01 there."""
    if freedom <= len(QUANTILES_95):
        return QUANTILES_95[freedom - 1]
    return NORMAL_95 + (NORMAL_95**3 + NORMAL_95) / (4 * freedom)


def spot(values: Sequence[float]) -> tuple[float, float] | None:
    """50 and 99 in 100 are at most this; None of nothing."""
    if not values:
        return None
    low, high = np.quantile(values, (0.5, 0.99))
    return float(low), float(high)


def measured(setting: EngineSetting, concurrency: int, drive: Drive, counted: Counters | None) -> EngineMeasurement:
    """A drive as a document. `counted`: what the engine counted meanwhile."""
    whole = [answer for answer in drive.answers if answer.failure is None]
    return EngineMeasurement(
        setting=setting,
        concurrency=concurrency,
        tokens=sum(answer.tokens for answer in whole),
        seconds=drive.seconds,
        requests=len(drive.answers),
        failed=len(drive.answers) - len(whole),
        first_token_ms=spot([answer.first_ms for answer in whole]),
        token_ms=spot(_token_ms(whole)),
        drafts=_whole(counted.drafts if counted else None),
        draft_tokens=_whole(counted.draft_tokens if counted else None),
        accepted_tokens=_whole(counted.accepted_tokens if counted else None),
        accepted_by_position=tuple(int(each) for each in counted.accepted_by_position) if counted else (),
    )


def _token_ms(answers: Sequence[Answer]) -> list[float]:
    return [each for answer in answers if (each := answer.token_ms) is not None]


def _whole(count: float | None) -> int | None:
    return None if count is None else int(count)
