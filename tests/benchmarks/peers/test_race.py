"""Rounds: who is asked when, and what happens when one dies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from benchmarks.peers.engines import Row
from benchmarks.peers.prompts import Question
from benchmarks.peers.race import WARM_UP_TOKENS, Race
from benchmarks.peers.worker import WorkerDied

ROWS = [Row("llama.cpp", "bf16", "plain"), Row("vllm", "bf16", "plain"), Row("vllm", "bf16", "ngram")]
ASKED = [Question(f"q{n}", kind, (n,), 32, n) for n in range(3) for kind in ("greedy", "sample")]


class Fake:
    def __init__(self, name: str, calls: list[tuple[str, int, float]], dies_at: int | None = None) -> None:
        self.name, self.calls, self.dies_at, self.asked = name, calls, dies_at, 0

    def ask(self, document: Mapping[str, Any]) -> dict[str, Any]:
        self.asked += 1
        if self.asked == self.dies_at:
            raise WorkerDied("out of memory")
        self.calls.append((self.name, document["ids"][0], document["temperature"]))
        return {"ids": list(range(document["tokens"])), "first_ms": 5.0, "first_tokens": 1, "total_ms": 50.0}


def raced(dies_at: int | None = None) -> tuple[Race, list[tuple[str, int, float]]]:
    calls: list[tuple[str, int, float]] = []
    workers = {row: Fake(row.name, calls, dies_at if row == ROWS[1] else None) for row in ROWS}
    race = Race()
    race.run(workers, ASKED, rounds=3)
    return race, calls


def test_a_question_goes_to_every_row_before_the_next_one_in_shuffled_order() -> None:
    race, calls = raced()
    turns = [calls[place : place + len(ROWS)] for place in range(0, len(calls), len(ROWS))]
    assert len(turns) == 3 * len(ASKED)
    for turn, question in zip(turns, ASKED * 3, strict=True):
        assert {call[0] for call in turn} == {row.name for row in ROWS}
        assert {call[1:] for call in turn} == {(question.ids[0], question.temperature)}
    assert len({tuple(name for name, *_ in turn) for turn in turns}) > 1
    assert [each.round for each in race.measurements] == sorted(each.round for each in race.measurements)


def test_the_others_go_on_without_a_peer_that_dies(capsys: pytest.CaptureFixture[str]) -> None:
    race, _ = raced(dies_at=4)
    counts = {row: sum(each.row == row for each in race.measurements) for row in ROWS}
    assert counts == {ROWS[0]: 18, ROWS[1]: 3, ROWS[2]: 18}
    assert race.lost == {ROWS[1]: "out of memory"}
    assert "without vllm/bf16/plain: out of memory" in capsys.readouterr().err


def test_warming_up_is_short_covers_every_kind_and_is_not_counted() -> None:
    calls: list[tuple[str, int, float]] = []
    race = Race()
    assert race.warm_up(ROWS[0], Fake("a", calls), ASKED)
    assert [temperature for *_, temperature in calls] == [0.0, 0.7]
    assert race.measurements == []
    assert WARM_UP_TOKENS < 32
    assert not race.warm_up(ROWS[1], Fake("b", calls, dies_at=2), ASKED)
    assert race.lost == {ROWS[1]: "out of memory"}


def test_what_was_measured_before_an_interruption_is_kept() -> None:
    class Interrupts(Fake):
        def ask(self, document: Mapping[str, Any]) -> dict[str, Any]:
            if len(self.calls) == 7:
                raise KeyboardInterrupt
            return super().ask(document)

    calls: list[tuple[str, int, float]] = []
    race = Race()
    with pytest.raises(KeyboardInterrupt):
        race.run({row: Interrupts(row.name, calls) for row in ROWS}, ASKED, rounds=1)
    assert len(race.measurements) == 7
