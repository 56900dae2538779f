"""Engines of several methods share a target, its memory and kept texts, and their texts are a decoder's."""

from __future__ import annotations

import random
from typing import Any

import pytest

from casspec.runtime.batching.engine import BatchedText
from casspec.runtime.session import Listener
from casspec.server.engines import Engines, Methods
from casspec.server.settings import Settings
from casspec.storage.errors import ContextOverflow, UnsupportedOption
from tests.casspec.server.serving import alone, methods_of, target_of, with_settings

METHODS = [None, "dytc", "autoregressive", "suffix", "prompt-lookup"]


def engines_of(settings: Settings | None = None, methods: Methods | None = None) -> Engines:
    settings = settings or with_settings()
    return Engines(methods or methods_of(settings), settings)


def submitted(engines: Engines, prompt: list[int], method: str | None = None, **options: Any) -> BatchedText:
    return engines.submit(prompt, Listener(), 0, method, {"max_new_tokens": 12, "ignore_eos": True} | options)


def run(engines: Engines) -> None:
    while engines.step():
        pass


def test_texts_of_several_methods_run_side_by_side() -> None:
    engines, dice = engines_of(with_settings(max_batch=3)), random.Random(1)
    prompts = [[dice.randrange(1, 60) for _ in range(dice.randrange(1, 40))] for _ in range(20)]
    texts = [submitted(engines, prompt, METHODS[place % 5]) for place, prompt in enumerate(prompts)]
    run(engines)
    for prompt, text in zip(prompts, texts, strict=True):
        assert text.result().token_ids == alone(prompt, max_new_tokens=12, ignore_eos=True).token_ids
    assert engines.load().n_running == engines.load().n_waiting == 0


def test_what_one_method_computed_another_one_knows() -> None:
    engines, prompt = engines_of(), [5, 6, 7, 8] * 10
    submitted(engines, prompt, "suffix")
    run(engines)
    text = submitted(engines, prompt, "autoregressive")
    run(engines)
    assert text.result().statistics.reused_tokens == len(prompt) - 1
    assert engines.load().prefix_hits == 1


def test_memory_is_shared_and_nobody_starves() -> None:
    room = target_of().cache_bytes(40 + 12 + 128)
    engines = engines_of(with_settings(kv_cache_bytes=int(2.5 * room)))
    texts = [submitted(engines, [3, 4] * 20, METHODS[place % 5]) for place in range(15)]
    while engines.step():
        load = engines.load()
        assert load.cached_bytes <= load.total_bytes == int(2.5 * room)
    assert all(len(text.result().token_ids) == 12 for text in texts)
    with pytest.raises(ContextOverflow):
        submitted(engines, [3] * 300, "suffix", max_new_tokens=200)


def test_a_text_is_cancelled_wherever_it_runs() -> None:
    engines = engines_of()
    texts = [submitted(engines, [3, 4, 5], method, max_new_tokens=200) for method in METHODS]
    engines.step()
    for text in texts:
        engines.cancel(text)
        engines.cancel(text)
    assert engines.load().n_running == 0
    assert engines.step() == []


def test_methods_that_are_not_offered_are_refused() -> None:
    with pytest.raises(UnsupportedOption, match="offered: autoregressive, dytc, prompt-lookup, suffix"):
        submitted(engines_of(), [1], "sequoia")


def test_texts_under_way_end_where_they_began_when_methods_are_swapped() -> None:
    engines = engines_of()
    first = submitted(engines, [5, 9, 300], max_new_tokens=60)
    engines.step()
    engines.swap(methods_of(method="suffix"))
    second = submitted(engines, [5, 9, 300], max_new_tokens=60)
    run(engines)
    expected = alone([5, 9, 300], max_new_tokens=60, ignore_eos=True).token_ids
    assert first.result().token_ids == second.result().token_ids == expected
    assert (first.result().statistics.method, second.result().statistics.method) == ("dytc", "suffix")


def test_steps_tell_what_they_brought_and_what_plain_ones_would_take() -> None:
    engines = engines_of()
    submitted(engines, [5, 9, 300])
    steps = [step for _ in range(20) for step in engines.step()]
    assert sum(step.n_tokens for step in steps) == 12
    assert all(step.milliseconds > 0 for step in steps)
    assert all(step.plain_ms is not None for step in steps[1:])


def test_a_watch_outlives_a_reload_of_its_profile() -> None:
    engines = engines_of()
    submitted(engines, [5, 9, 300])
    run(engines)
    assert [gate.mode for gate in engines.gates] == ["greedy"]
    engines.swap(methods_of(method="suffix"))
    assert engines.gates == [], "those of the engine in use"
    submitted(engines, [5, 9, 300])
    run(engines)
    (summary,) = engines.watches.summaries().values()
    assert summary.tokens == 24


def test_warming_leaves_nothing_behind() -> None:
    engines = engines_of()
    engines.warm()
    assert engines.watches.summaries() == {}
    assert engines.gates == []
    load = engines.load()
    assert (load.cached_bytes, load.prefix_hits, len(engines.prefixes)) == (0, 0, 0)
    assert engines.step() == []


def test_after_a_fault_everything_begins_anew() -> None:
    engines = engines_of()
    submitted(engines, [1, 2, 3], max_new_tokens=100)
    engines.step()
    engines.restart()
    assert engines.step() == []
    text = submitted(engines, [5, 9, 300])
    run(engines)
    assert text.result().token_ids == alone([5, 9, 300], max_new_tokens=12, ignore_eos=True).token_ids
