"""CUDA graphs give what their forward gives, to the last bit, within memory that does not grow."""

from __future__ import annotations

import pytest
import torch

from casspec.runtime.batching.engine import BatchEngine
from casspec.runtime.decode import Decoder
from casspec.runtime.model.graphs.runner import CudaGraphs
from casspec.runtime.model.inputs import InputBuffers
from casspec.runtime.model.plan import Plan
from casspec.runtime.model.target import TargetModel
from casspec.runtime.policies import METHODS
from casspec.storage.schema import Precision, SkipSet
from tests.runtime.tiny import FAMILIES, library_model, repetitive_prompt, tiny_profile

DTYPES = [torch.float32, torch.bfloat16]


def target_on_cuda(family: str = "llama", dtype: torch.dtype = torch.float32, **changes: int) -> TargetModel:
    return TargetModel(library_model(family, 7, **changes).to("cuda", dtype), name=f"tiny-{family}")


@pytest.fixture(autouse=True)
def full_float32() -> None:
    torch.backends.cuda.matmul.allow_tf32 = False


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("family", FAMILIES)
@torch.inference_mode()
def test_a_graph_gives_the_bits_of_its_forward(family: str, dtype: torch.dtype) -> None:
    target = target_on_cuda(family, dtype)
    caches = [target.new_cache(64) for _ in range(2)]
    buffers = [InputBuffers(64, target.dtype, target.device) for _ in range(2)]
    for place in range(0, 60, 3):
        asked = [each.causal([place % 31, 4, 5], place) for each in buffers]
        found = target.forward(asked[0], caches[0], target.full_plan).clone()
        with target.captured(False):
            expected = target.forward(asked[1], caches[1], target.full_plan)
        assert torch.equal(found, expected)
    assert target.lean.graphs is not None
    assert target.lean.graphs.mine.store.captured == 1


@pytest.mark.parametrize("precision", [Precision.INT8_DYNAMIC, Precision.INT4_WEIGHT])
@torch.inference_mode()
def test_quantised_plans_are_captured(precision: Precision) -> None:
    target = target_on_cuda("llama", torch.bfloat16, hidden_size=128, intermediate_size=256)
    if target.refusal(precision):
        pytest.skip(str(target.refusal(precision)))
    plan = Plan.skipping(SkipSet(mlp=(1,)), target.n_layers, precision=precision)
    caches = [target.new_cache(64) for _ in range(2)]
    inputs = InputBuffers(64, target.dtype, target.device)
    for place in range(10):
        found = target.forward(inputs.causal([place], place), caches[0], plan).clone()
        with target.captured(False):
            assert torch.equal(found, target.forward(inputs.causal([place], place), caches[1], plan))


@pytest.mark.parametrize("method", METHODS)
def test_texts_are_those_without_graphs(method: str) -> None:
    target = target_on_cuda()
    decoder = Decoder(target, tiny_profile(target), method)
    for options in ({}, {"temperature": 0.7, "seed": 1}):
        with target.captured(False):
            expected = Decoder(target, method="autoregressive").generate(repetitive_prompt(50), 120, **options)
        assert decoder.generate(repetitive_prompt(50), 120, **options).token_ids == expected.token_ids


def test_a_batch_writes_the_texts_without_graphs() -> None:
    target = target_on_cuda()
    prompts = [repetitive_prompt(n, n) for n in (30, 12, 45, 20)]
    with target.captured(False):
        plain = Decoder(target, method="autoregressive")
        expected = [plain.generate(prompt, 60).token_ids for prompt in prompts]
    engine = BatchEngine(Decoder(target, tiny_profile(target), "dytc"), max_batch=3, kv_cache_bytes=1 << 24)
    assert [each.token_ids for each in engine.generate(prompts, max_new_tokens=60)] == expected
    assert target.lean.graphs is not None
    assert target.lean.graphs.mine.store.captured > 0


def test_graphs_keep_to_their_bounds() -> None:
    target = target_on_cuda()
    target.lean.capture_with(lambda: CudaGraphs(target.device), most=3)
    decoder = Decoder(target, tiny_profile(target), "dytc")
    decoder.generate(repetitive_prompt(50), 100)
    assert target.lean.graphs is not None
    store = target.lean.graphs.mine.store
    assert (len(store), store.evicted > 0) == (3, True)


def test_decoding_on_takes_no_more_memory() -> None:
    target = target_on_cuda()
    decoder = Decoder(target, tiny_profile(target), "dytc")
    for _ in range(3):
        decoder.generate(repetitive_prompt(50), 100)
    before = torch.cuda.memory_allocated()
    for _ in range(3):
        decoder.generate(repetitive_prompt(50), 100)
    assert torch.cuda.memory_allocated() <= before + (1 << 20)
