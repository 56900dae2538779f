"""Acceptance by text: seen soon where it changes, and not where texts merely differ."""

from __future__ import annotations

from random import Random

import pytest

from casspec.runtime.decoding.generation import Statistics
from casspec.runtime.watch.figures import OF_PLANS, OF_RETRIEVAL, Figure
from casspec.runtime.watch.texts import AcceptanceWatch
from tests.runtime.watch.streams import text

FIGURE = Figure(0.95, 2048, OF_PLANS)
"""Of the issue, as a quick calibration counts it."""
EACH = 1e6 * 12
"""Tokens between false alarms of each figure, where three in one mode and three plans are watched."""


def reviews_until(
    drifts: str, acceptance: float, figure: Figure, seed: int, trials: int, scatter: float, most: int
) -> int | None:
    """Trials until a drift is told, or none within `most`."""
    rng, watch, n = Random(seed), AcceptanceWatch({("sample", drifts): figure}, EACH), 0
    while n < most:
        watch.text("sample", text(rng, drifts, acceptance, trials, scatter))
        n += trials
        if watch.drifts:
            return n
    return None


@pytest.mark.parametrize(("trials", "scatter"), [(40, 1.5), (64, 2.0), (64, 4.0)])
def test_a_fall_from_95_to_81_is_seen_within_2000_reviews(trials: int, scatter: float) -> None:
    took = [reviews_until("int4", 0.81, FIGURE, seed, trials, scatter, 20_000) for seed in range(40)]
    assert None not in took
    assert max(n for n in took if n is not None) <= 2_000


@pytest.mark.parametrize(("figure", "scatter"), [(FIGURE, 4.0), (Figure(0.5, 1_500, OF_RETRIEVAL), 15.0)])
def test_a_million_tokens_of_scattered_texts_are_no_drift(figure: Figure, scatter: float) -> None:
    rng, watch = Random(3), AcceptanceWatch({("sample", "a"): figure}, EACH)
    for _ in range(1_000_000 // 100):
        # A text in twenty trials stands for a hundred tokens: as many texts as a million tokens can be.
        watch.text("sample", text(rng, "a", figure.acceptance, 20, min(scatter, 8.0), n_tokens=100))
        assert not watch.drifts


@pytest.mark.parametrize("off_by", [-1, 1])
def test_a_calibration_that_was_off_by_its_own_error_is_no_drift(off_by: int) -> None:
    figure = Figure(0.7, 2_000, OF_PLANS)
    true = figure.acceptance + off_by * 0.5 * figure.margin
    assert all(reviews_until("a", true, figure, seed, 50, 2.0, 40_000) is None for seed in range(4))


def test_better_is_told_too() -> None:
    rng, watch = Random(0), AcceptanceWatch({("greedy", "prompt-lookup"): Figure(0.45, 1_300, OF_RETRIEVAL)}, EACH)
    for _ in range(300):
        watch.text("greedy", text(rng, "prompt-lookup", 0.8, 60, 10.0))
    (drift,) = watch.drifts
    assert (drift.subject, drift.mode, drift.calibrated) == ("prompt-lookup", "greedy", 0.45)
    assert drift.now == pytest.approx(0.8, abs=0.06)


def test_other_modes_and_drafters_are_passed_over() -> None:
    rng, watch = Random(0), AcceptanceWatch({("greedy", "int4"): FIGURE}, EACH)
    for _ in range(100):
        watch.text("sample", text(rng, "int4", 0.3, 60, 2.0))
        watch.text("greedy", text(rng, "int8", 0.3, 60, 2.0))
        watch.text("greedy", Statistics())
    assert (watch.drifts, watch.seen) == ([], ())


def test_sums_say_how_much_texts_differ() -> None:
    rng, watch = Random(0), AcceptanceWatch({("greedy", "int4"): FIGURE}, EACH)
    texts = [text(rng, "int4", 0.95, 100, 3.0) for _ in range(400)]
    for one in texts:
        watch.text("greedy", one)
    (seen,) = watch.seen
    assert (seen.texts, seen.trials, seen.right) == (400, 40_000, sum(one.right_by["int4"] for one in texts))
    assert seen.squares == pytest.approx(sum((one.right_by["int4"] - 95.0) ** 2 for one in texts))
