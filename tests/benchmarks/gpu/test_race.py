"""Who decodes what, in which order, and by which forwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from benchmarks.gpu import race
from benchmarks.gpu.race import Course, Entrant, Race
from benchmarks.gpu.stages import Work
from casspec.runtime.decode import Generation, Statistics
from casspec.runtime.model.target import TargetModel


class Recorder:
    """Decodes nothing and remembers what it was asked."""

    def __init__(self, name: str, log: list[tuple[Any, ...]]) -> None:
        self._name, self._log = name, log

    def generate(self, input_ids: list[int], max_new_tokens: int, temperature: float = 0.0, **_: Any) -> Generation:
        self._log.append((self._name, len(input_ids), max_new_tokens, temperature))
        return Generation([1] * max_new_tokens, Statistics(emitted_tokens=max_new_tokens))


@pytest.fixture
def log() -> list[tuple[Any, ...]]:
    return []


@pytest.fixture
def entrants(log: list[tuple[Any, ...]]) -> list[Entrant]:
    plain, greedy = Recorder("plain", log), Recorder("peer", log)
    return [
        Entrant("autoregressive", "eager", plain),
        Entrant("peer", "library", greedy, ("greedy",)),
        Entrant("autoregressive", "eager", plain, again=True),
    ]


def test_all_decode_a_prompt_before_the_next_one(
    target: TargetModel, entrants: list[Entrant], course: Course, work: Work
) -> None:
    texts = list(Race(target, entrants, course).run(work))
    turns = [(taken[0].round, taken[0].request.prompt_id, taken[0].request.mode) for taken in texts]
    assert turns == [(turn, name, mode) for turn in (0, 1) for name in "ab" for mode in ("sample", "greedy")]
    for taken in texts:
        sampled = taken[0].request.mode == "sample"
        assert sorted(one.entrant.method for one in taken) == ["autoregressive"] * 2 + ["peer"] * (not sampled)
        assert {one.request for one in taken} == {taken[0].request}


def test_shapes_are_warm_before_anything_counts(
    target: TargetModel, entrants: list[Entrant], course: Course, work: Work, log: list[tuple[Any, ...]]
) -> None:
    long = Course(course.prompts, 20, 1)
    next(Race(target, entrants, long).run(work))
    sampled = [(name, n, tokens) for name, n, tokens, temperature in log[:-2] if temperature]
    assert sampled == [("plain", 5, race.WARM_UP_TOKENS), ("plain", 9, 20)]
    assert [(name, n) for name, n, _, temperature in log[:-2] if not temperature] == [
        ("plain", 5),
        ("peer", 5),
        ("plain", 9),
        ("peer", 9),
    ]


def test_graphs_are_captured_before_anything_counts_and_off_elsewhere(
    target: TargetModel, course: Course, work: Work, log: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def switched(of: TargetModel, on: bool) -> Iterator[None]:
        log.append(("graphs", on))
        yield
        log.append(("graphs", "end"))

    monkeypatch.setattr(race, "with_graphs", switched)
    entrants = [Entrant("m", "eager", Recorder("eager", log)), Entrant("m", "graphs", Recorder("graphs!", log))]
    one = Course(course.prompts[:1], 6, 1, modes=("greedy",))
    list(Race(target, entrants, one).run(work))
    decoded = [(log[place - 1][1], words[0]) for place, words in enumerate(log) if words[0] in ("eager", "graphs!")]
    assert decoded[:3] == [(False, "eager"), (True, "graphs!"), (True, "graphs!")]
    assert sorted(decoded[3:]) == [(False, "eager"), (True, "graphs!")]


def test_a_race_out_of_time_ends_after_a_whole_prompt(
    target: TargetModel, entrants: list[Entrant], course: Course, new_work: Callable[..., Work]
) -> None:
    now = [0.0]
    work = new_work(100.0, lambda: now[0])
    texts = []
    for taken in Race(target, entrants, course).run(work):
        texts.append(taken)
        now[0] += 30
    assert len(texts) == 3
    assert work.outcome.notes == ["time was over in round 1 of 2"]


def test_the_context_is_that_of_the_middle_of_a_text(course: Course) -> None:
    assert course.context_tokens == (5 + 9) / 2 + 3
