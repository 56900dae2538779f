"""Endpoints compared."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from casspec.storage.errors import EngineError
from casspec.tuner.engines.asked import completion
from casspec.tuner.engines.bench import Contender, Turn, bench, warm_up
from casspec.tuner.engines.endpoint import Asked
from casspec.tuner.engines.known.by_name import engine_named
from tests.tuner.engines.tuning.made_up import session

Serve = Callable[..., str]
NGRAM = {"method": "ngram", "num_speculative_tokens": 6, "prompt_lookup_min": 1, "prompt_lookup_max": 3}


def turn(concurrency: int, n: int = 4) -> Turn:
    def requests(model: str) -> Sequence[Asked]:
        return [completion(model, [3, 4, 5, 6], 24, {}) for _ in range(n)]

    return Turn(concurrency, requests)


def silent(line: str) -> None:
    """Nobody reads."""


def test_the_faster_endpoint_is_told_with_its_interval_and_acceptance(serve: Serve) -> None:
    plain, drafting = (Contender.at(url, None) for url in (serve(step_ms=8), serve(NGRAM, step_ms=8)))
    turns = [turn(each) for _ in range(3) for each in (1, 2)]
    warm_up([plain, drafting], turns[0].requests)
    rows = bench([plain, drafting], turns, silent)
    assert [(row.concurrency, row.url) for row in rows] == [
        (each, one.endpoint.url) for each in (1, 2) for one in (plain, drafting)
    ]
    for without, with_it in (rows[:2], rows[2:]):
        assert without.versus is None
        assert without.acceptance_length is None
        assert with_it.versus is not None
        assert with_it.versus.n == 3
        assert with_it.tokens_per_second > 1.3 * without.tokens_per_second
        assert with_it.acceptance_length is not None
        assert with_it.acceptance_length > 2
        assert with_it.acceptance_rate is not None
        assert 0 < with_it.acceptance_rate <= 1
        assert (with_it.requests, with_it.failed) == (12, 0)


def test_an_endpoint_without_metrics_has_no_acceptance(serve: Serve) -> None:
    alone = Contender.at(serve(NGRAM, no_metrics=True), None)
    assert alone.counters is None
    (row,) = bench([alone], [turn(2)], silent)
    assert row.acceptance_length is None
    assert row.tokens_per_second > 0


def test_one_that_answers_nothing_is_one_line_and_single_failures_are_counted(serve: Serve) -> None:
    dying = Contender.at(serve(dies_after=2), None)
    with pytest.raises(EngineError, match="answers no request"):
        bench([Contender(dying.endpoint, "model", None)], [turn(1), turn(1)], silent)
    with pytest.raises(EngineError, match="answers no request"):
        warm_up([dying], turn(1).requests)
    partly = Contender(Contender.at(serve(dies_after=2), None).endpoint, "model", None)
    (row,) = bench([partly], [turn(1)], silent)
    assert (row.requests, row.failed) == (4, 2)
    assert row.failure is not None


@pytest.mark.parametrize("name", ["llama.cpp", "sglang", "tensorrt-llm"])
def test_acceptance_of_another_engine_is_by_its_own_counters(name: str, llama_server: Path, tmp_path: Path) -> None:
    engine = engine_named(name)
    program = llama_server if name == "llama.cpp" else Path(sys.executable)
    with (
        session(tmp_path, engine=engine, program=program) as made,
        made.starter.started(engine.ngram_setting(2, 2, 6)) as instance,
    ):
        warm_up([Contender(instance.endpoint, "model", None)], turn(1).requests)
        contender = Contender.at(instance.endpoint.url, None)
        (row,) = bench([contender], [turn(2)], silent)
    assert contender.counters == engine.counters
    assert row.failed == 0
    assert (row.acceptance_length or 3.0) > 2
    told = {"sglang": (True, False), "tensorrt-llm": (False, True)}.get(name, (True, True))
    assert (row.acceptance_length is not None, row.acceptance_rate is not None) == told
