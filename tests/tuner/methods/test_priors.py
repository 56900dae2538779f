"""Acceptance priors of retrieval, counted on texts that their recycling matrix has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from casspec.runtime.policies.dytc.ablation import RETRIEVAL_TABLE
from casspec.storage.schema import AcceptanceCell
from casspec.tuner.methods import priors
from casspec.tuner.methods.priors import retrieval_cells
from casspec.tuner.recordings.recording import Recording
from tests.tuner.tiny import VOCAB
from tests.tuner.tiny_replay import TARGET, forward_ms, of_mode


def cells(recordings: Sequence[Recording]) -> tuple[AcceptanceCell, ...]:
    return retrieval_cells(recordings, VOCAB, TARGET.full_plan, forward_ms)


def test_cells_count_trials_of_the_retrieval_table_alone() -> None:
    counted = cells(of_mode("sample"))
    assert sum(cell.trials for cell in counted) > 0
    assert all(0 <= cell.accepted <= cell.trials for cell in counted)
    assert {cell.key.rpartition(":")[0] for cell in counted} == {RETRIEVAL_TABLE}
    assert cells([]) == ()


def test_the_order_of_two_texts_makes_no_difference() -> None:
    first, second = of_mode("sample")
    assert cells([first, second]) == cells([second, first])


def test_no_text_is_judged_with_a_matrix_made_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    learned: list[set[str]] = []
    judged: list[set[str]] = []
    make, replay = priors.recycling_matrix, priors.replay

    def making(recordings: Sequence[Recording], vocab_size: int) -> Any:
        learned.append({one.prompt_id for one in recordings})
        return make(recordings, vocab_size)

    def replaying(policy: Any, recordings: Sequence[Recording], *arguments: Any) -> Any:
        judged.append({one.prompt_id for one in recordings})
        return replay(policy, recordings, *arguments)

    monkeypatch.setattr(priors, "recycling_matrix", making)
    monkeypatch.setattr(priors, "replay", replaying)
    recordings = of_mode("greedy")
    cells(recordings)
    assert judged == learned[::-1]
    assert set.union(*judged) == {one.prompt_id for one in recordings}
    assert not judged[0] & learned[0]
    assert not judged[1] & learned[1]
