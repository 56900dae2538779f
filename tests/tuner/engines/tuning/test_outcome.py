"""What came of a search."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from casspec.storage.engines.documents import PLAIN
from casspec.tuner.engines.known.vllm import BY_BATCH, Vllm
from casspec.tuner.engines.protocol import Abilities
from casspec.tuner.engines.tuning.confirm import Confirmed
from casspec.tuner.engines.tuning.finalists import Finalist
from casspec.tuner.engines.tuning.outcome import adjusted, outcome
from casspec.tuner.engines.tuning.session import OutOfTime
from casspec.tuner.engines.tuning.starting import OwnEngine
from tests.tuner.engines.known.test_vllm import ABLE
from tests.tuner.engines.tuning.made_up import ngram, session
from tests.tuner.engines.tuning.test_confirm import FIGURES, GOOD, SLOW, keep

NOTHING = Finalist(PLAIN, {})


def test_the_best_is_chosen_for_each_number_and_one_for_all(tmp_path: Path) -> None:
    with session(tmp_path) as made:
        confirmed = Confirmed(made, FIGURES)
        keep(made, NOTHING, 0, {1: 40.0, 2: 80.0})
        keep(made, GOOD, 0, {1: 80.0, 2: 88.0})
        keep(made, SLOW, 0, {1: 44.0, 2: 120.0})
        found = outcome(made, FIGURES, confirmed, [GOOD, SLOW], None)
        assert [each.setting for each in found.choices] == [GOOD.setting, SLOW.setting]
        assert [round(each.gain, 2) for each in found.choices] == [2.0, 1.5]
        assert found.configuration == Vllm().configuration(GOOD.setting), "its mean is higher"
        assert [round(each.gain, 2) for each in found.configured] == [2.0, 1.1]
        assert found.refuses
        assert found.choices[0].plain_tokens_per_second == 40.0


def test_a_configuration_that_is_slower_somewhere_is_none(tmp_path: Path) -> None:
    with session(tmp_path) as made:
        confirmed = Confirmed(made, FIGURES)
        keep(made, NOTHING, 0, {1: 40.0, 2: 80.0})
        keep(made, GOOD, 0, {1: 80.0, 2: 72.0})
        found = outcome(made, FIGURES, confirmed, [GOOD], None)
        assert (found.configuration, found.configured, found.refuses) == (None, (), ())
        assert [each.setting.is_off for each in found.choices] == [False, True]
        assert "2.00x at 1, 0.90x at 2: it is slower than no speculation at 2, so it is off" in found.notes[0]
        less = adjusted(made, confirmed, [GOOD])
        assert less is not None
        assert less.setting.parameters[BY_BATCH] == [[1, 1, 4], [2, 2, 0]]
        keep(made, less, 0, {1: 78.0, 2: 81.0})
        better = outcome(made, FIGURES, confirmed, [GOOD, less], None)
        assert better.configuration == Vllm().configuration(less.setting)
        made.abilities = Abilities("0.20", False, frozenset())
        assert adjusted(made, confirmed, [GOOD]) is None


def test_what_is_as_slow_as_noise_is_no_loss(tmp_path: Path) -> None:
    with session(tmp_path) as made:
        confirmed = Confirmed(made, FIGURES)
        for number, speed in enumerate((78.0, 81.0)):
            keep(made, NOTHING, number, {1: 40.0, 2: 80.0})
            keep(made, GOOD, number, {1: 80.0, 2: speed})
        assert outcome(made, FIGURES, confirmed, [GOOD], None).configuration == Vllm().configuration(GOOD.setting)
        assert adjusted(made, confirmed, [GOOD]) is None
        keep(made, NOTHING, 2, {1: 40.0, 2: 80.0})
        keep(made, GOOD, 2, {1: 80.0, 2: 70.0})
        assert outcome(made, FIGURES, confirmed, [GOOD], None).configuration is None


def test_a_gain_within_the_noise_is_told_as_that(tmp_path: Path) -> None:
    with session(tmp_path) as made:
        confirmed = Confirmed(made, FIGURES)
        for number, factor in enumerate((0.9, 1.4)):
            keep(made, NOTHING, number, {1: 40.0, 2: 80.0})
            keep(made, GOOD, number, {1: 40.0 * factor, 2: 80.0 * factor})
        found = outcome(made, FIGURES, confirmed, [GOOD], None)
        assert found.configuration is None
        assert "1.12x at 1, 1.12x at 2: it is measurably faster nowhere, so it is off" in found.notes[0]


@pytest.mark.parametrize(("accepted", "is_on"), [(40, False), (90, True)])
def test_a_gain_that_drafts_cannot_have_brought_does_not_count(tmp_path: Path, accepted: int, is_on: bool) -> None:
    with session(tmp_path) as made:
        confirmed = Confirmed(made, FIGURES)
        keep(made, NOTHING, 0, {1: 40.0, 2: 80.0})
        keep(made, GOOD, 0, {1: 72.0, 2: 104.0}, drafts=100, accepted_tokens=accepted)
        found = outcome(made, FIGURES, confirmed, [GOOD], None)
        assert (found.configuration is not None) is is_on
        assert [not each.setting.is_off for each in found.choices] == [is_on, True]
        told = [note for note in found.notes if "the machine was busy" in note]
        assert len(told) == (0 if is_on else 1)
        assert is_on or "1.80x as fast at 1, but a draft of it brought 1.40 tokens" in told[0]


def test_nothing_is_left_out_of_what_is_nowhere_slower_or_everywhere(tmp_path: Path) -> None:
    with session(tmp_path) as made:
        confirmed = Confirmed(made, FIGURES)
        assert adjusted(made, confirmed, [GOOD]) is None
        keep(made, NOTHING, 0, {1: 40.0, 2: 80.0})
        keep(made, GOOD, 0, {1: 80.0, 2: 88.0})
        keep(made, SLOW, 0, {1: 20.0, 2: 30.0})
        assert adjusted(made, confirmed, [GOOD]) is None
        assert adjusted(made, confirmed, [SLOW]) is None
        assert outcome(made, FIGURES, confirmed, [SLOW], None).configuration is None


def test_promising_settings_without_a_measurement_are_no_outcome(tmp_path: Path) -> None:
    with session(tmp_path) as made:
        confirmed = Confirmed(made, FIGURES)
        with pytest.raises(OutOfTime, match="run the same command again"):
            outcome(made, FIGURES, confirmed, [GOOD], None)
        made.failed(ngram(), "no head")
        found = outcome(made, FIGURES, confirmed, [GOOD], None)
        assert found.configuration is None
        assert any("failed: no head" in note for note in found.notes)
        nothing = outcome(made, FIGURES, confirmed, [], None)
        assert "none was confirmed" in nothing.notes[0]
        assert [each.tokens_per_second for each in nothing.choices] == [40.0, 40.0]


def test_a_configuration_of_one_start_says_so(tmp_path: Path) -> None:
    with session(tmp_path) as made:
        confirmed = Confirmed(made, FIGURES)
        for number in range(2):
            keep(made, NOTHING, number, {1: 40.0, 2: 80.0})
            keep(made, GOOD, number, {1: 80.0, 2: 88.0})
            notes = outcome(made, FIGURES, confirmed, [GOOD], None).notes
            assert any("one start" in note for note in notes) is (number == 0)


def test_what_the_engine_was_started_with_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VLLM_CPU_OMP_THREADS_BIND", raising=False)
    with session(tmp_path) as made:
        confirmed = Confirmed(made, FIGURES)
        keep(made, NOTHING, 0, {1: 40.0, 2: 80.0})
        keep(made, GOOD, 0, {1: 80.0, 2: 88.0})
        assert not any("started with" in note for note in outcome(made, FIGURES, confirmed, [GOOD], None).notes)
        assert isinstance(made.starter, OwnEngine)
        on_cpu = replace(made.starter.start, abilities=replace(ABLE, runs_on_cpu=True), cores=(0, 1))
        made.starter = replace(made.starter, start=on_cpu)
        notes = outcome(made, FIGURES, confirmed, [GOOD], None).notes
    assert any("VLLM_CPU_OMP_THREADS_BIND=0,1" in note for note in notes)
