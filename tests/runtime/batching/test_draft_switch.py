"""A batch drafts where that brings more tokens a millisecond, and looks again now and then."""

from __future__ import annotations

import pytest

from casspec.runtime.batching.draft_switch import AFTER, AGAIN, EVERY, SELDOM, TRIED, DraftSwitch


def rounds(
    switch: DraftSwitch, n: int, n_texts: int, drafting: float, plain: float, mode: str = "sample"
) -> list[bool]:
    """Whether each of `n` rounds drafted, at so many tokens a millisecond of each kind."""
    said = []
    for _ in range(n):
        switch.begin_round(n_texts, mode)
        said.append(switch.drafts)
        switch.end_round(100, 100 / (drafting if switch.drafts else plain))
    return said


@pytest.mark.parametrize(("drafting", "plain", "pays"), [(1.3, 1.0, True), (0.8, 1.0, False), (1.0, 1.0, False)])
def test_what_is_faster_is_done_nearly_always(drafting: float, plain: float, pays: bool) -> None:
    said = rounds(DraftSwitch(), 2 * EVERY + 4 * TRIED, 8, drafting, plain)[4 * TRIED :]
    others = sum(one != pays for one in said)
    assert 1 <= others <= 3 * AGAIN


def test_it_changes_its_mind_when_texts_do() -> None:
    switch = DraftSwitch()
    assert not rounds(switch, 60, 4, 0.8, 1.0)[-1]
    assert rounds(switch, 6 * EVERY, 4, 2.0, 1.0)[-1]


def test_a_text_alone_drafts_unless_that_loses() -> None:
    assert all(rounds(DraftSwitch(), 60, 1, 2.0, 1.0))
    said = rounds(DraftSwitch(), 2000, 1, 0.8, 1.0)
    assert sum(said) < 600
    assert any(said[-1100:]), "it is tried again"


def test_batches_of_other_sizes_are_judged_apart() -> None:
    switch = DraftSwitch()
    assert not rounds(switch, 60, 16, 0.8, 1.0)[-1]
    assert rounds(switch, 60, 2, 1.3, 1.0)[-1]
    assert not rounds(switch, 3, 16, 0.8, 1.0)[-1]


def test_decoding_modes_are_judged_apart() -> None:
    switch = DraftSwitch()
    assert not rounds(switch, 60, 4, 0.8, 1.0, "sample")[-1]
    assert rounds(switch, 60, 4, 1.3, 1.0, "greedy")[-1]
    assert not rounds(switch, 3, 4, 0.8, 1.0, "sample")[-1]


@pytest.mark.parametrize("predicted", [True, False])
def test_a_prediction_is_believed_until_rounds_tell(predicted: bool) -> None:
    switch = DraftSwitch(lambda n_texts, mode: predicted)
    assert set(rounds(switch, AFTER - 1, 8, 1.0, 1.0)) == {predicted}
    right, wrong = (1.0, 1.5) if predicted else (1.5, 1.0)
    assert rounds(switch, EVERY, 8, right, wrong)[-1] is not predicted


def test_what_is_known_is_told_by_size_and_mode() -> None:
    switch = DraftSwitch()
    assert switch.said == []
    rounds(switch, 5, 12, 0.8, 1.0)
    rounds(switch, 60, 4, 0.8, 1.0)
    rounds(switch, 60, 2, 1.3, 1.0, "greedy")
    rounds(switch, 500, 1, 0.5, 1.0)
    said = {(one.n_texts, one.mode): (one.drafts, one.gain) for one in switch.said}
    assert list(said) == [(1, "sample"), (2, "greedy"), (4, "sample"), (8, "sample")]
    assert said[1, "sample"] == (False, pytest.approx(0.5))
    assert said[2, "greedy"] == (True, pytest.approx(1.3))
    assert said[4, "sample"] == (False, pytest.approx(0.8))
    assert said[8, "sample"] == (True, None), "nothing is known of it yet"


def test_a_moment_in_which_the_machine_was_busy_elsewhere_changes_little() -> None:
    switch = DraftSwitch()
    assert rounds(switch, 60, 8, 1.5, 1.0)[-1]
    switch.begin_round(8, "sample")
    switch.end_round(100, 100_000.0)
    assert rounds(switch, 10, 8, 1.5, 1.0)[-1]


def test_what_clearly_loses_is_looked_at_ever_less_and_never_forgotten() -> None:
    switch = DraftSwitch(lambda n_texts, mode: False)
    early, late = rounds(switch, 8 * EVERY, 16, 0.6, 1.0), rounds(switch, 2 * SELDOM, 16, 0.6, 1.0)
    assert sum(early) >= 3 * AGAIN
    assert AGAIN <= sum(late) <= 3 * AGAIN
    assert rounds(switch, 3 * SELDOM, 16, 1.5, 1.0)[-1], "texts may change at any time"
