"""What a profile promises of its drafters."""

from __future__ import annotations

import pytest

from casspec.runtime.decoding.acceptance import (
    FIRST_CONFIDENCE,
    LITERAL_AGREES,
    LITERAL_DIFFERS,
    LITERAL_STATES,
    N_GAP,
    confidence_bucket,
    is_literal,
)
from casspec.runtime.watch.figures import MOST_MARGIN, OF_PLANS, OF_RETRIEVAL, Figure, figures
from casspec.storage.schema import AcceptanceCell, AcceptancePrior, DrafterSpec, SkipSet
from tests.storage.samples import profile

COPIED, RECYCLED = ((2 * LITERAL_STATES + state) * N_GAP + 3 for state in (LITERAL_AGREES, LITERAL_DIFFERS))


def cell(key: str, accepted: float, trials: float) -> AcceptanceCell:
    return AcceptanceCell(key=key, accepted=accepted, trials=trials)


def self_drafter(name: str, **parameters: float | bool) -> DrafterSpec:
    return DrafterSpec(name=name, kind="self", skip=SkipSet(mlp=(1,)), parameters=parameters)


def test_cells_are_told_apart_by_drafter() -> None:
    assert is_literal(COPIED)
    assert not is_literal(RECYCLED)
    assert confidence_bucket(0.0) == FIRST_CONFIDENCE
    assert confidence_bucket(-0.1) < FIRST_CONFIDENCE


def test_a_share_is_of_the_cells_of_a_drafters_best_tokens() -> None:
    cells = (
        cell(f"retrieval:{COPIED}", 30, 40),
        cell(f"retrieval:{COPIED + 1}", 10, 40),
        cell(f"retrieval:{RECYCLED}", 5, 100),
        cell(f"int4:{FIRST_CONFIDENCE - 1}", 1, 500),
        cell(f"int4:{FIRST_CONFIDENCE}", 90, 100),
        cell(f"int4:{FIRST_CONFIDENCE + 2}", 400, 400),
        cell("of a later release", 1, 1),
    )
    made = profile(
        drafters=(self_drafter("int4", acceptance=0.7), self_drafter("bare", acceptance=0.6)),
        acceptance=(AcceptancePrior(mode="sample", cells=cells),),
    )
    assert figures(made) == {
        ("sample", "prompt-lookup"): Figure(0.5, 80, OF_RETRIEVAL),
        ("sample", "token-recycling"): Figure(0.05, 100, OF_RETRIEVAL),
        ("sample", "int4"): Figure(0.98, 500, OF_PLANS),
        ("sample", "bare"): Figure(0.6, 500.0, OF_PLANS),
    }


def test_plans_that_the_cascade_does_not_run_promise_nothing() -> None:
    prior = (AcceptancePrior(mode="greedy"),)
    for_others = self_drafter("int4", acceptance=0.7, cascade=False)
    assert figures(profile(drafters=(for_others,), acceptance=prior)) == {}
    not_run = self_drafter("int4", acceptance=0.7)
    assert figures(profile(drafters=(not_run,), acceptance=prior, decision="retrieval-only")) == {}


@pytest.mark.parametrize("scatter", [OF_PLANS, OF_RETRIEVAL])
def test_a_margin_is_wide_where_little_was_counted(scatter) -> None:
    margins = [Figure(0.8, trials, scatter).margin for trials in (1, 1_000, 3_000, 10**9)]
    assert margins == sorted(margins, reverse=True)
    assert (margins[0], margins[-1]) == (MOST_MARGIN, scatter.least_margin)
