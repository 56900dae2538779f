"""The watch on what real models did: a quick calibration's figures, and texts decoded with its profile afterwards.

Each file begins with the figures; a line each text follows, of 96 tokens at most. `own` are prompts of the suite's reporting half and
`tuning` of the other; `spec` are Spec-Bench's questions, `code` the beginnings of Python source, `noise` eighty random tokens.
Drawn anew and anew, the texts of a kind are a stream as long as one likes.
"""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest

from casspec.runtime.decoding.generation import Statistics
from casspec.runtime.watch.figures import OF_PLANS, OF_RETRIEVAL, RETRIEVED, Figure
from casspec.runtime.watch.profile_watch import TOKENS_BETWEEN_FALSE_ALARMS
from casspec.runtime.watch.texts import AcceptanceWatch
from casspec.storage.schema import Mode

ASSETS = Path(__file__).parents[2] / "assets" / "watch"
MODES: tuple[Mode, ...] = ("greedy", "sample")


@cache
def recorded(model: str) -> tuple[dict[tuple[Mode, str], Figure], list[dict[str, Any]]]:
    """Figures by mode and drafter, and texts."""
    lines = [json.loads(line) for line in (ASSETS / f"{model}.jsonl").read_text("utf-8").splitlines()]
    found = {
        (line["mode"], line["drafter"]): Figure(
            line["acceptance"], line["trials"], OF_RETRIEVAL if line["drafter"] in RETRIEVED else OF_PLANS
        )
        for line in lines
        if "acceptance" in line
    }
    return found, [line for line in lines if "kind" in line]


def told(model: str, kind: str, mode: Mode, n_tokens: int, seed: int) -> set[str]:
    """Drafters whose acceptance drifts within a stream of so many tokens."""
    promised, texts = recorded(model)
    drawn_from = [text for text in texts if (text["kind"], text["mode"]) == (kind, mode)]
    assert len(drawn_from) >= 20
    rng, seen = Random(seed), 0
    watch = AcceptanceWatch(promised, TOKENS_BETWEEN_FALSE_ALARMS * 2 * (len(promised) + 3))
    while seen < n_tokens and not watch.drifts:
        text = rng.choice(drawn_from)
        trials, right = ({name: pair[place] for name, pair in text["counts"].items()} for place in (0, 1))
        watch.text(mode, Statistics(emitted_tokens=text["tokens"], trials_by=Counter(trials), right_by=Counter(right)))
        seen += text["tokens"]
    return {drift.subject for drift in watch.drifts}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["own", "tuning"])
@pytest.mark.parametrize("model", ["reference", "smollm2-dithered"])
def test_traffic_of_the_kind_that_was_calibrated_on_is_no_drift(model: str, kind: str, mode: Mode) -> None:
    assert [told(model, kind, mode, 150_000, seed) for seed in range(2)] == [set(), set()]


@pytest.mark.parametrize(
    ("model", "kind", "mode"),
    [
        ("reference", "spec", "greedy"),
        ("reference", "noise", "greedy"),
        ("smollm2-dithered", "noise", "greedy"),
        ("smollm2-dithered", "noise", "sample"),
    ],
)
def test_traffic_that_is_copied_from_far_more_often_is_a_drift(model: str, kind: str, mode: Mode) -> None:
    assert [told(model, kind, mode, 40_000, seed) for seed in range(3)] == [{"prompt-lookup"}] * 3


def test_texts_scatter_no_more_than_the_margins_allow_for() -> None:
    """By kind: variance of the right ones over that of independent trials, which `figures.py` takes the upper end of."""
    by_kind: dict[str, list[float]] = {}
    for model in ("reference", "smollm2-dithered"):
        promised, texts = recorded(model)
        for mode, drafter in promised:
            for kind in ("own", "tuning"):
                pairs = [text["counts"].get(drafter) for text in texts if (text["kind"], text["mode"]) == (kind, mode)]
                counts = [pair for pair in pairs if pair]
                trials, right = (sum(pair[place] for pair in counts) for place in (0, 1))
                share = right / trials
                squares = sum((pair[1] - share * pair[0]) ** 2 for pair in counts)
                by_kind.setdefault("retrieval" if drafter in RETRIEVED else "plans", []).append(
                    squares / (trials * share * (1 - share))
                )
    assert max(by_kind["plans"]) < OF_PLANS.factor
    retrieval = sorted(by_kind["retrieval"])
    assert retrieval[len(retrieval) * 9 // 10] < OF_RETRIEVAL.factor
