"""The second half of the page: what the decision rests on."""

from __future__ import annotations

from dataclasses import replace

from casspec.profiler.report import as_stored
from casspec.tuner.report_page import render_page
from casspec.tuner.report_page.evidence import error_rows
from tests.storage import samples
from tests.tuner.report_page.pages import Read, history, profile


def test_latency_errors_are_at_the_slowdown_the_model_predicts_and_in_order() -> None:
    measured = [
        samples.sample(n_tokens, value).model_copy(update={"slowdown": 1.25})
        for n_tokens, value in ((1, 2.0), (4, 1.0), (20, 4.0))
    ]
    latency = profile().latency  # predicts 2 ms for everything; medians are 1.1 times the value
    rows = error_rows(as_stored(measured, latency), latency)
    assert [row[:3] for row in rows] == [
        ("plan: the target", "3", "54.5%"),
        ("tokens  1", "1", "9.1%"),
        ("tokens  2 to 8", "1", "81.8%"),
        ("tokens  9 to 32", "1", "54.5%"),
        ("context from 64", "3", "54.5%"),
        ("all", "3", "54.5%"),
    ]


def test_acceptance_by_depth_is_told_with_the_trials_it_comes_from() -> None:
    known = history()
    (drafter, *_) = known.profile.drafters
    found = samples.candidate().model_copy(update={"skip": drafter.skip, "acceptance_by_depth": (0.75, 1.0)})
    counted = found.model_copy(update={"trials_by_depth": (64, 16)})
    text = Read(render_page(replace(known, candidates=[counted]))).text
    assert "from n tokens scored so deep" in text
    assert "sparse-40 0.75 (n 64) 1.00 (n 16)" in text
    assert "scored so deep" not in Read(render_page(replace(known, candidates=[found]))).text
