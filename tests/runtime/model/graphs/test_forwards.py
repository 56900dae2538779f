"""Captured forwards: the texts of every method, few graphs, memory that stays where it is."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from casspec.runtime.decode import Decoder
from casspec.runtime.decoding.sequence import MAX_TREE_NODES
from casspec.runtime.model.forward_input import ForwardInput
from casspec.runtime.model.graphs.forwards import GraphedForwards, Key, rows_bucket
from casspec.runtime.model.inputs import InputBuffers
from casspec.runtime.model.plan import Plan
from casspec.runtime.model.target import TargetModel
from casspec.runtime.policies import METHODS
from casspec.storage.schema import Precision, SkipSet
from tests.runtime.model.graphs.conftest import MakeTarget
from tests.runtime.tiny import causal, library_model, masked_input, repetitive_prompt, tiny_profile

SAMPLED = {"temperature": 0.7, "seed": 1}


def graphs_of(target: TargetModel) -> GraphedForwards:
    graphs = target.lean.graphs
    assert graphs is not None
    return graphs.mine


def plain_text(family: str, prompt: list[int], n: int, **options: Any) -> list[int]:
    """Of autoregressive decoding without graphs."""
    target = TargetModel(library_model(family, 7), name=f"tiny-{family}")
    with target.captured(False):
        return Decoder(target, method="autoregressive").generate(prompt, n, **options).token_ids


@pytest.mark.parametrize("method", METHODS)
def test_every_method_writes_the_autoregressive_text_past_attended_buckets(method: str, captured: MakeTarget) -> None:
    target, runner = captured()
    decoder = Decoder(target, tiny_profile(target), method)
    for options, n in (({}, 40), (SAMPLED, 24)):
        prompt = repetitive_prompt(100)
        expected = plain_text("llama", prompt, n, **options)
        assert decoder.generate(prompt, n, **options).token_ids == expected
    assert runner.n_replays > 4
    assert {key.length for key in graphs_of(target).store.keys if isinstance(key, Key)} == {128, 256}


@pytest.mark.parametrize("family", ["gemma2", "gemma3_text", "phi3", "qwen3"])
def test_windows_and_what_else_families_have_are_captured(family: str, captured: MakeTarget) -> None:
    target, runner = captured(family)
    prompt = repetitive_prompt(40)
    generation = Decoder(target, tiny_profile(target), "dytc").generate(prompt, 60)
    assert generation.token_ids == plain_text(family, prompt, 60)
    assert runner.n_replays > 10


def test_a_long_text_of_dytc_needs_few_graphs(recorded: MakeTarget) -> None:
    target, runner = recorded(max_position_embeddings=512)
    decoder = Decoder(target, tiny_profile(target), "dytc")
    generation = decoder.generate(repetitive_prompt(30), 300)
    assert generation.statistics.verify_steps > 50
    store = graphs_of(target).store
    assert runner.n_replays > 4 * store.captured
    assert store.captured <= 40


def test_a_key_that_comes_once_is_not_captured(captured: MakeTarget) -> None:
    target, runner = captured()
    cache = target.new_cache(128)
    inputs = InputBuffers(cache.capacity, target.dtype, target.device)
    counts = []
    for place in range(4):
        target.forward(inputs.causal([3], place), cache, target.full_plan)
        counts.append((len(runner.graphs), runner.n_replays))
    assert counts == [(0, 0), (1, 1), (1, 2), (1, 3)]


@pytest.mark.parametrize("precision", [Precision.INT8_DYNAMIC, Precision.INT4_WEIGHT])
def test_plans_of_other_precisions_are_captured_and_go_with_their_weights(
    precision: Precision, captured: MakeTarget
) -> None:
    target, _ = captured(hidden_size=64, intermediate_size=64)
    if target.refusal(precision):
        pytest.skip(str(target.refusal(precision)))
    plan, cache = Plan.skipping(SkipSet(mlp=(1,)), 4, precision=precision), target.new_cache(128)
    inputs = InputBuffers(cache.capacity, target.dtype, target.device)
    store = graphs_of(target).store
    texts = []
    for _ in range(2):
        texts.append([target.forward(inputs.causal([3, 5], 2 * turn), cache, plan)[:2].clone() for turn in range(3)])
        assert len(store) == 1
        target.release(precision)
        target.prepare(precision)
        target.forward(inputs.causal([4], 6), cache, target.full_plan)
        assert len(store) == 0
        store.discard(lambda key: True)
    assert all(torch.equal(one, other) for one, other in zip(*texts, strict=True))


def test_rows_wanted_are_those_of_all_rows(captured: MakeTarget) -> None:
    target, runner = captured()
    cache = target.new_cache(128)
    inputs = InputBuffers(cache.capacity, target.dtype, target.device)
    for turn, wanted in enumerate(([4, 0], [1, 1], [3, 2], [2, 0, 4], [0, 1, 2], [4, 3, 1])):
        tokens = [turn, 5, 1, 2, 3]
        whole = target.forward(inputs.causal(tokens, 0), cache, target.full_plan).clone()
        rows = torch.tensor(wanted)
        found = target.forward(inputs.causal(tokens, 0), cache, target.full_plan, rows)
        torch.testing.assert_close(found, whole[rows])
    assert runner.n_replays > 4


def test_graphs_go_with_the_cache_they_write_to(captured: MakeTarget) -> None:
    target, runner = captured()
    for _ in range(2):
        cache = target.new_cache(64)
        inputs = InputBuffers(cache.capacity, target.dtype, target.device)
        for place in range(3):
            target.forward(inputs.causal([3], place), cache, target.full_plan)
        del cache
    other = target.new_cache(64)
    target.forward(InputBuffers(64, target.dtype, target.device).causal([3], 0), other, target.full_plan)
    assert (runner.n_released, len(graphs_of(target).store)) == (2, 0)


def given(target: TargetModel, cache: Any, batch: int, tokens: list[int], start: int) -> ForwardInput:
    places = list(range(start, start + len(tokens)))
    each = [tokens[:1] * len(tokens), tokens][:batch]
    return masked_input(
        target, cache, each, [places] * batch, [places] * batch, [causal(len(tokens), start) for _ in range(batch)]
    )


@pytest.mark.parametrize("family", ["llama", "gemma2"])
@pytest.mark.parametrize("batch", [1, 2])
def test_inputs_given_as_tensors_are_copied_to_where_a_graph_reads_them(
    family: str, batch: int, captured: MakeTarget
) -> None:
    target, runner = captured(family)
    plain = TargetModel(library_model(family, 7))
    cache, other = target.new_cache(192, batch), plain.new_cache(192, batch)
    for start in range(0, 150, 5):
        inputs = given(target, cache, batch, [start % 31, 4, 5, 2, 1], start)
        expected = plain.forward(inputs, other, plain.full_plan)
        torch.testing.assert_close(target.forward(inputs, cache, target.full_plan), expected, atol=1e-4, rtol=1e-4)
    assert runner.n_replays > 20


def test_long_chunks_of_a_prompt_run_as_they_are(captured: MakeTarget) -> None:
    target, runner = captured()
    cache = target.new_cache(256)
    inputs = InputBuffers(cache.capacity, target.dtype, target.device)
    for _ in range(3):
        target.hidden(inputs.causal([1] * 200, 0), cache, target.full_plan)
    assert (len(runner.graphs), graphs_of(target).store.keys) == (0, [])


def test_planted_memory_is_found(captured: MakeTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    """What each forward asked for anew would be read where it no longer is."""
    target, _ = captured()
    cache = target.new_cache(128)
    inputs = InputBuffers(cache.capacity, target.dtype, target.device)
    for place in range(3):
        target.forward(inputs.causal([3], place), cache, target.full_plan)
    (staging,) = graphs_of(target)._stagings.values()
    staging.token_ids = staging.token_ids.clone()
    with pytest.raises(AssertionError, match="moved"):
        target.forward(inputs.causal([3], 3), cache, target.full_plan)


def test_memory_made_for_a_forward_is_found(captured: MakeTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    target, _ = captured()
    cache = target.new_cache(128)
    inputs = InputBuffers(cache.capacity, target.dtype, target.device)
    rows = GraphedForwards._rows_read

    def planted(*arguments: Any) -> Any:
        torch.zeros(4)
        return rows(*arguments)

    for place in range(3):
        target.forward(inputs.causal([3], place), cache, target.full_plan)
    monkeypatch.setattr(GraphedForwards, "_rows_read", planted)
    with pytest.raises(AssertionError, match="memory is made"):
        target.forward(inputs.causal([3], 3), cache, target.full_plan)


def test_evicted_graphs_leave_the_text_right(captured: MakeTarget) -> None:
    target, runner = captured(bounds={"most": 2})
    prompt = repetitive_prompt(50)
    generation = Decoder(target, tiny_profile(target), "dytc").generate(prompt, 90)
    assert generation.token_ids == plain_text("llama", prompt, 90)
    assert runner.n_released > 2
    assert sum(graph.is_live for graph in runner.graphs) == 2


def test_more_rows_than_a_graph_reads_have_no_bucket() -> None:
    assert [rows_bucket(n) for n in (0, 1, 3, MAX_TREE_NODES, 513)] == [1, 1, 4, 128, None]
