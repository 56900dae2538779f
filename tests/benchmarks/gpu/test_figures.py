"""Medians over rounds, ratios within a round, spreads, overhead and noise, by hand."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.gpu.figures import noise, rows_of, spread
from benchmarks.gpu.race import Entrant, Taken
from casspec.runtime.decode import Statistics
from casspec.runtime.text.sampling import Sampling
from casspec.storage.schema import Mode
from casspec.tuner.bench.requests import Request

NOBODY: Any = None
PLAIN = Entrant("autoregressive", "eager", NOBODY)
AGAIN = Entrant("autoregressive", "eager", NOBODY, again=True)
BY_GRAPHS = Entrant("autoregressive", "graphs", NOBODY)
DYTC = Entrant("dytc", "graphs", NOBODY)
LIBRARY = Entrant("transformers", "library", NOBODY)


def taken(
    entrant: Entrant,
    decode_ms: float,
    turn: int = 0,
    mode: Mode = "greedy",
    steps: int = 10,
    forward_ms: float = 8.0,
    text: str = "0123456789",
    prompt: str = "a",
) -> Taken:
    statistics = Statistics(verify_steps=steps, emitted_tokens=10, decode_ms=decode_ms, verify_ms=forward_ms)
    return Taken(entrant, turn, Request(prompt, mode, (1,), Sampling(), 0), statistics, tuple(map(int, text)))


def row(rows: list[dict[str, Any]], entrant: Entrant) -> dict[str, Any]:
    return next(each for each in rows if (each["method"], each["forwards"]) == (entrant.method, entrant.forwards))


def test_a_method_is_compared_with_plain_decoding_by_the_same_forwards_in_its_round() -> None:
    texts = [taken(PLAIN, 40), taken(BY_GRAPHS, 20), taken(DYTC, 10, steps=4)]
    texts += [taken(PLAIN, 60, 1), taken(BY_GRAPHS, 30, 1), taken(DYTC, 10, 1, steps=4)]
    texts += [taken(PLAIN, 50, 2), taken(BY_GRAPHS, 25, 2), taken(DYTC, 10, 2, steps=4)]
    found = rows_of(texts, bound_ms=1.25)
    assert [(each["method"], each["forwards"]) for each in found] == [
        ("autoregressive", "eager"),
        ("autoregressive", "graphs"),
        ("dytc", "graphs"),
    ]
    dytc = row(found, DYTC)
    assert dytc["over_plain"] == pytest.approx(2.5)
    assert dytc["over_plain_spread"] == pytest.approx(0.5 / 2.5)
    assert (dytc["accepted"], dytc["rounds"], dytc["prompts"]) == (2.5, 3, 1)
    assert dytc["of_bound"] is None
    plain = row(found, BY_GRAPHS)
    assert plain["of_bound"] == pytest.approx(0.5)
    assert plain["tokens_per_s"] == pytest.approx(400)
    assert plain["spread"] == pytest.approx((500 - 1000 / 3) / 2 / 400)


def test_overhead_is_what_remains_of_a_step() -> None:
    (found,) = rows_of([taken(PLAIN, 10, steps=4, forward_ms=8)], 1.0)
    assert found["forward_ms"] == pytest.approx(2)
    assert found["overhead_us"] == pytest.approx(500)
    assert found["overhead"] == pytest.approx(0.2)


def test_who_times_no_forwards_has_no_overhead() -> None:
    found = rows_of([taken(PLAIN, 20), taken(LIBRARY, 40, forward_ms=0)], 1.0)
    assert "overhead" not in row(found, LIBRARY)
    assert row(found, LIBRARY)["over_plain"] == pytest.approx(0.5)


def test_the_library_is_compared_with_plain_decoding_by_graphs_where_there_is_some() -> None:
    found = rows_of([taken(PLAIN, 40), taken(BY_GRAPHS, 20), taken(LIBRARY, 40)], 1.0)
    assert row(found, LIBRARY)["over_plain"] == pytest.approx(0.5)


def test_texts_are_compared_with_those_of_plain_decoding() -> None:
    found = rows_of([taken(PLAIN, 20), taken(DYTC, 20, text="0123999999")], 1.0)
    assert (row(found, PLAIN)["same_text"], row(found, DYTC)["same_text"]) == (10, 4)


def test_modes_stand_apart_and_sampling_comes_first() -> None:
    found = rows_of([taken(PLAIN, 20), taken(PLAIN, 40, mode="sample")], 1.0)
    assert [(each["mode"], each["token_ms"]) for each in found] == [("sample", 4), ("greedy", 2)]


def test_noise_is_what_a_method_differs_by_from_itself() -> None:
    texts = [taken(PLAIN, 20), taken(AGAIN, 25), taken(PLAIN, 20, 1), taken(AGAIN, 20, 1)]
    assert noise(texts, "greedy") == pytest.approx(0.1)
    assert noise(texts, "sample") is None
    (found,) = rows_of(texts, 1.0)
    assert found["token_ms"] == 2


def test_one_round_has_no_spread() -> None:
    assert spread([2.0]) is None
    assert spread([1.0, 2.0, 4.0]) == pytest.approx(0.75)
