"""Graphs by thread, and forwards over several sequences whose caches are pieces of one pool."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch

from casspec.runtime.batching.engine import BatchEngine
from casspec.runtime.decode import Decoder
from casspec.runtime.model.graphs.forwards import Key
from casspec.runtime.model.graphs.threads import ThreadGraphs
from casspec.runtime.model.inputs import InputBuffers
from casspec.runtime.model.joint_input import JointInput, JointPart
from casspec.runtime.model.target import TargetModel
from tests.runtime.model.graphs.conftest import MakeTarget
from tests.runtime.tiny import library_model, repetitive_prompt, run, tiny_profile


def graphs_of(target: TargetModel) -> ThreadGraphs:
    assert target.lean.graphs is not None
    return target.lean.graphs


def part_after(target: TargetModel, prompt: list[int], tree: list[int]) -> JointPart:
    """A prompt that is written, and a chain after it."""
    cache = target.new_cache(len(prompt) + len(tree))
    inputs = InputBuffers(cache.capacity, target.dtype, target.device)
    target.hidden(inputs.causal(prompt, 0), cache, target.full_plan)
    return JointPart(inputs.causal(tree, len(prompt)), cache, len(tree))


def expected_after(target: TargetModel, prompt: list[int], tree: list[int]) -> torch.Tensor:
    return run(target, target.new_cache(len(prompt) + 8), [*prompt, *tree])[len(prompt) :].clone()


@pytest.mark.parametrize("family", ["llama", "gemma2"])
@torch.inference_mode()
def test_one_graph_serves_any_sequences_of_the_pool(family: str, captured: MakeTarget) -> None:
    target, _ = captured(family)
    plain = TargetModel(library_model(family, 7))
    target.reserve_caches(1 << 20)
    texts = [repetitive_prompt(n, n) for n in (20, 70, 33, 5, 41)]
    trees = [[1], [2, 3], [4, 5, 6], [7], [8, 9]]
    parts = [part_after(target, *both) for both in zip(texts, trees, strict=True)]
    own = [expected_after(plain, *both) for both in zip(texts, trees, strict=True)]
    joint = [key for key in graphs_of(target).mine.store.keys if isinstance(key, Key) and key.how != "single"]
    assert joint == []
    for chosen in ([0, 1, 2], [3, 1, 4], [4, 2, 1], [2, 1, 0]):
        inputs = JointInput([parts[i] for i in chosen])
        expected = torch.cat([own[i] for i in chosen])
        logits = target.joint_forward(inputs, target.full_plan)
        torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
        wanted = torch.tensor([3, 0])
        found = target.joint_forward(inputs, target.full_plan, wanted)
        torch.testing.assert_close(found, expected[wanted], atol=1e-4, rtol=1e-4)
    joint = [key for key in graphs_of(target).mine.store.keys if isinstance(key, Key) and key.how != "single"]
    assert [(key.seats, key.queries, key.length) for key in joint] == [(4, 4, 128)] * len(joint)
    assert sorted((key.how, key.read) for key in joint) == [("joint", 16), ("joint-wanted", 2)]


@torch.inference_mode()
def test_sequences_elsewhere_and_much_padding_run_as_they_are(captured: MakeTarget) -> None:
    target, runner = captured()
    strangers = [part_after(target, [3, 4, 5], [n]) for n in range(2)]
    target.reserve_caches(1 << 21)
    members = [part_after(target, [3, 4, 5], [n]) for n in range(5)]
    long = part_after(target, [3, 4, 5], list(range(31)) * 3)
    for parts in ([members[0], strangers[0]], [*members, long]):
        expected = torch.cat([target.forward(p.inputs, p.cache, target.full_plan)[: p.n_rows].clone() for p in parts])
        runner.n_replays = 0
        for _ in range(3):
            found = target.joint_forward(JointInput(parts), target.full_plan)
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
        assert runner.n_replays == 0


@pytest.mark.parametrize("method", ["autoregressive", "dytc", "suffix"])
def test_a_batch_writes_the_texts_of_plain_decoding(method: str, captured: MakeTarget) -> None:
    target, runner = captured()
    engine = BatchEngine(Decoder(target, tiny_profile(target), method), max_batch=3, kv_cache_bytes=1 << 22)
    assert graphs_of(target).pool is not None
    prompts = [repetitive_prompt(n, n) for n in (30, 12, 45, 20)]
    plain = Decoder(TargetModel(library_model("llama", 7)), method="autoregressive")
    for options in ({}, {"temperature": 0.8, "seed": 3}):
        found = [generation.token_ids for generation in engine.generate(prompts, max_new_tokens=40, **options)]
        assert found == [plain.generate(prompt, 40, **options).token_ids for prompt in prompts]
    assert runner.n_replays > 10


@torch.inference_mode()
def test_each_thread_has_graphs_of_its_own(captured: MakeTarget) -> None:
    target, _ = captured()
    graphs, found = graphs_of(target), list[Any]()
    thread = threading.Thread(target=lambda: found.append(graphs.mine))
    thread.start()
    thread.join()
    assert found[0] is not graphs.mine
    assert graphs.mine is graphs.mine


@torch.inference_mode()
def test_forwards_run_as_they_are_where_graphs_are_off(captured: MakeTarget) -> None:
    target, runner = captured()
    cache = target.new_cache(64)
    inputs = InputBuffers(cache.capacity, target.dtype, target.device)
    assert target.forwards == "graphs"
    with target.captured(False):
        assert target.forwards is None
        for place in range(4):
            target.forward(inputs.causal([3], place), cache, target.full_plan)
        assert len(runner.graphs) == 0
    assert target.forwards == "graphs"


def test_memory_is_set_aside_once(captured: MakeTarget) -> None:
    target, _ = captured()
    target.reserve_caches(1)
    assert graphs_of(target).pool is None
    target.reserve_caches(1 << 20)
    pool = graphs_of(target).pool
    target.reserve_caches(1 << 21)
    assert pool is not None
    assert graphs_of(target).pool is pool
    assert pool.whole.n_bytes <= (1 << 20) + 1000
    assert target.new_cache(64, batch=2).batch == 2
