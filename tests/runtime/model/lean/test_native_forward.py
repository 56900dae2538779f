"""The native forward beside torch's operators: every precision of weights, every part, any number of threads, any processor."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from casspec.runtime.model.forward_input import ForwardInput
from casspec.runtime.model.kv_cache import KVCache
from casspec.runtime.model.lean.native_forward import Workspace
from casspec.runtime.model.plan import Plan
from casspec.runtime.model.target import TargetModel
from casspec.runtime.native import processor
from casspec.runtime.native.table import Slot
from casspec.storage.schema import SkipSet
from tests.runtime.tiny import FAMILIES, VOCAB, causal, first_rows, library_model, masked_input, run, tiny_target

ROOT = Path(__file__).parents[4]

pytestmark = [
    pytest.mark.usefixtures("without_gradients"),
    pytest.mark.skipif(processor.refusal() is not None, reason=str(processor.refusal())),
]

NARROW = {
    "NUMBA_CPU_NAME": "haswell",
    "NUMBA_CPU_FEATURES": "+sse4.2,+popcnt,+avx,+avx2,+bmi,+bmi2,+f16c,+fma",
}
"""A processor of 2013: vectors of 8 numbers, 16 of them."""

ON_A_NARROW_PROCESSOR = """
from itertools import product
import torch
from casspec.runtime.model.target import TargetModel
from casspec.runtime.native import processor, products, vectors
from tests.runtime.tiny import first_rows, library_model, run

assert vectors.LANES == 8 and not products.WIDE and not processor.has_byte_products()
torch.set_num_threads(2)
tokens = torch.randint(31, (60,), generator=torch.Generator().manual_seed(0)).tolist()
for family, dtype in product(("qwen3", "gemma2", "gemma3_text"), (torch.float32, torch.bfloat16)):
    packed = TargetModel(library_model(family).to(dtype), pack=True)
    plain = TargetModel(library_model(family).to(dtype).float())
    assert packed.is_native
    with torch.inference_mode():
        found, expected = run(packed, packed.new_cache(64), tokens), run(plain, plain.new_cache(64), tokens)
        cache, parts, start = packed.new_cache(64), [], 0
        for n in (1, 2, 3, 4, 5, 6, 7, 8, 10, 14):
            parts.append(run(packed, cache, tokens[start : start + n], start))
            start += n
    error = ((found - expected).norm() / expected.norm()).item()
    assert error < {torch.float32: 1e-5, torch.bfloat16: 0.02}[dtype], (family, dtype, error)
    assert torch.equal(torch.cat(parts), found), (family, dtype)
"""


@pytest.fixture
def thread_counts() -> Iterator[tuple[int, ...]]:
    """Numbers of threads to set; what was set before comes back."""
    before = torch.get_num_threads()
    yield (1, 2, 3)
    torch.set_num_threads(before)


def both(family: str = "qwen3") -> tuple[TargetModel, TargetModel]:
    """The same weights, plain and packed."""
    return TargetModel(library_model(family), pack=False), TargetModel(library_model(family), pack=True)


def given(target: TargetModel, n: int, cache: KVCache) -> ForwardInput:
    tokens = torch.randint(VOCAB, (n,), generator=torch.Generator().manual_seed(n)).tolist()
    places = list(range(n))
    return masked_input(target, cache, [tokens], [places], [places], [causal(n)])


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_and_cached_rows_are_those_of_torchs_operators(family: str) -> None:
    plain, packed = both(family)
    caches = plain.new_cache(64), packed.new_cache(64)
    expected, found = (
        target.forward(given(target, 20, cache), cache, target.full_plan)
        for target, cache in zip((plain, packed), caches, strict=True)
    )
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(first_rows(caches[1], 20), first_rows(caches[0], 20), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("skip", [SkipSet(attention=(0, 3)), SkipSet(mlp=(1,)), SkipSet(attention=(2,), mlp=(2,))])
def test_a_plan_leaves_the_same_sub_layers_out(skip: SkipSet) -> None:
    plain, packed = both()
    plan, tokens = Plan.skipping(skip, plain.n_layers), list(range(12))
    caches = plain.new_cache(64), packed.new_cache(64)
    expected, found = (run(t, cache, tokens, plan=plan) for t, cache in zip((plain, packed), caches, strict=True))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    for layer in skip.attention:
        assert not caches[1].rows(layer)[0].any(), "a layer left out writes no rows"


def test_the_number_of_threads_changes_no_bit(thread_counts: tuple[int, ...]) -> None:
    target = tiny_target("qwen2")
    results = []
    for count in thread_counts:
        torch.set_num_threads(count)
        cache = target.new_cache(64)
        results.append(torch.cat([run(target, cache, list(range(20))), run(target, cache, [5], 20)]))
    assert all(torch.equal(result, results[0]) for result in results)


def test_results_are_float32_and_the_cache_keeps_the_dtype() -> None:
    target = TargetModel(library_model().to(torch.bfloat16), pack=True)
    cache = target.new_cache(64)
    inputs = given(target, 3, cache)
    assert target.forward(inputs, cache, target.full_plan).dtype == torch.float32
    assert target.hidden(inputs, cache, target.full_plan).dtype == torch.float32
    assert cache.dtype == torch.bfloat16


def test_a_later_forward_changes_no_earlier_result() -> None:
    target = tiny_target()
    cache = target.new_cache(64)
    inputs = given(target, 8, cache)
    results = [target.forward(inputs, cache, target.full_plan), target.hidden(inputs, cache, target.full_plan)]
    results += [target.embed(inputs), target.normalised(results[1])]
    kept = [result.clone() for result in results]
    run(target, target.new_cache(256), list(range(30)) * 4)
    run(target, target.new_cache(64), [4, 7])
    assert all(map(torch.equal, results, kept))


def test_targets_of_different_sizes_do_not_meet_in_memory() -> None:
    small, large = tiny_target(), tiny_target(hidden_size=64, intermediate_size=160, head_dim=40)
    expected = run(small, small.new_cache(64), [1, 2, 3])
    run(large, large.new_cache(128), list(range(31)) * 3)
    assert torch.equal(run(small, small.new_cache(64), [1, 2, 3]), expected)


def test_a_workspace_grows_and_never_shrinks() -> None:
    workspace = Workspace(tiny_target().lean.sizes)
    workspace.reserve(4, 64, 1)
    first = workspace.version, workspace.entries[Slot.X]
    workspace.reserve(2, 64, 1)
    assert (workspace.version, workspace.entries[Slot.X]) == first
    workspace.reserve(4, 128, 2)
    assert workspace.version > first[0]
    assert len(workspace.rows(Slot.X, 4)) == 4


@pytest.mark.slow
def test_a_processor_with_narrow_vectors_computes_the_same() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ON_A_NARROW_PROCESSOR],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | NARROW,
    )
    assert done.returncode == 0, done.stderr
