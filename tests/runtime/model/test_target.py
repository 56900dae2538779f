"""Every supported family computes what the library's own model computes."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from casspec.runtime.model.forward_input import QUERY_BUCKETS
from casspec.runtime.model.lean.weights import linears
from casspec.runtime.model.target import TargetModel
from casspec.storage.errors import UnsupportedModel, UnsupportedOption
from tests.runtime.tiny import FAMILIES, VOCAB, causal, library_model, masked_input, run
from tests.runtime.tiny_families import tiny_model

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 64}
LINEAR = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}


CONFIGURATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "llama-multi-head": ("llama", {"num_key_value_heads": 4}),
    "llama-multi-query": ("llama", {"num_key_value_heads": 1}),
    "llama-tied": ("llama", {"tie_word_embeddings": True}),
    "llama-biases": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "llama-wide-heads": ("llama", {"head_dim": 16}),
    "llama-llama3-rope": ("llama", {"rope_parameters": LLAMA3}),
    "llama-linear-rope": ("llama", {"rope_parameters": LINEAR}),
    "llama-yarn-rope": ("llama", {"rope_parameters": YARN}),
    "llama-gelu": ("llama", {"hidden_act": "gelu"}),
    "mistral": ("mistral", {"head_dim": 16}),
    "mistral-window-of-the-context": ("mistral", {"sliding_window": 256}),
    "qwen2": ("qwen2", {}),
    "mistral-without-window": ("mistral", {"sliding_window": None}),
    "qwen2-window": ("qwen2", {"sliding_window": 40, "use_sliding_window": True, "max_window_layers": 2}),
    "qwen3-window": ("qwen3", {"sliding_window": 40, "use_sliding_window": True, "max_window_layers": 0}),
    "qwen2-tied": ("qwen2", {"tie_word_embeddings": True}),
    "qwen3": ("qwen3", {"head_dim": 16}),
    "qwen3-biases": ("qwen3", {"attention_bias": True, "tie_word_embeddings": True}),
    "gemma": ("gemma", {"head_dim": 16, "tie_word_embeddings": True}),
    "gemma2": ("gemma2", {}),
    "gemma2-without-bounds": ("gemma2", {"attn_logit_softcapping": None, "final_logit_softcapping": None}),
    "gemma3": ("gemma3_text", {}),
    "gemma3-linear-rope": ("gemma3_text", {"rope_parameters": {"full_attention": LINEAR}, "num_key_value_heads": 1}),
    "phi3": ("phi3", {}),
    "gemma3-all-windows": ("gemma3_text", {"layer_types": ["sliding_attention"] * 4, "sliding_window": 7}),
    "phi3-multi-head": ("phi3", {"num_key_value_heads": 4, "rope_parameters": None}),
}


@pytest.fixture(params=CONFIGURATIONS, scope="module")
def model(request: pytest.FixtureRequest) -> Any:
    family, changes = CONFIGURATIONS[request.param]
    return library_model(family, **changes)


@pytest.fixture(params=[False, True], ids=["plain", "packed"])
def pack(request: pytest.FixtureRequest) -> bool:
    """Whether the native forward runs."""
    return bool(request.param)


def library_logits(model: Any, tokens: list[int]) -> torch.Tensor:
    return model(torch.tensor([tokens])).logits[0]


def random_tokens(n: int, seed: int = 0) -> list[int]:
    return torch.randint(VOCAB, (n,), generator=torch.Generator().manual_seed(seed)).tolist()


@torch.inference_mode()
def test_prefill_and_steps_give_the_logits_of_the_library(model: Any, pack: bool) -> None:
    tokens = random_tokens(150)
    expected = library_logits(model, tokens)
    target = TargetModel(model, pack=pack)
    assert target.is_native == pack
    cache = target.new_cache(len(tokens))
    logits, start = [], 0
    for n in (100, 1, 1, 3, 2, 5, 1, 20, 17):  # odd lengths leave padding rows in their buckets
        logits.append(run(target, cache, tokens[start : start + n], start))
        start += n
    assert start == len(tokens)
    torch.testing.assert_close(torch.cat(logits), expected, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_the_library_model_still_computes_the_same(model: Any) -> None:
    tokens = random_tokens(20, seed=1)
    before = library_logits(model, tokens)
    target = TargetModel(model)
    again = TargetModel(model)
    torch.testing.assert_close(library_logits(model, tokens), before)
    assert (
        target.lean.weights.layers[0].qkv.data_ptr()
        == again.lean.weights.layers[0].qkv.data_ptr()
        == linears(model.model.layers[0])[0][0].weight.data_ptr()
    )


@torch.inference_mode()
@pytest.mark.parametrize("family", FAMILIES)
def test_sequences_of_different_lengths_share_a_forward(family: str, pack: bool) -> None:
    target = TargetModel(library_model(family, seed=3), pack=pack)
    texts = [random_tokens(23, seed=4), random_tokens(9, seed=5)]
    together = target.new_cache(64, batch=2)
    alone = [target.new_cache(64) for _ in texts]
    steps = [(0, 16, 6), (16, 18, 1), (18, 23, 2)]  # how far each forward takes the first text; tokens of the second
    begun = 0
    for start, end, n_second in steps:
        spans = [(start, end), (begun, begun + n_second)]
        tokens = [text[a:b] for text, (a, b) in zip(texts, spans, strict=True)]
        places = [list(range(a, b)) for a, b in spans]
        visible = [causal(b - a, a) for a, b in spans]
        inputs = masked_input(target, together, tokens, places, places, visible)
        logits = target.forward(inputs, together, target.full_plan).view(2, -1, VOCAB)
        for b, (a, _) in enumerate(spans):
            torch.testing.assert_close(
                logits[b, : len(tokens[b])], run(target, alone[b], tokens[b], a), atol=1e-5, rtol=1e-5
            )
        begun += n_second


@torch.inference_mode()
def test_every_query_bucket_gives_the_same_row(pack: bool) -> None:
    target = TargetModel(library_model(), pack=pack)
    tokens = random_tokens(256, seed=2)
    expected = run(target, target.new_cache(256), tokens)
    for size in QUERY_BUCKETS:
        if size <= len(tokens):
            torch.testing.assert_close(
                run(target, target.new_cache(256), tokens[:size]), expected[:size], atol=1e-4, rtol=1e-4
            )


@torch.inference_mode()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_packed_row_has_the_same_bits_whatever_rows_stand_beside_it(family: str, dtype: torch.dtype) -> None:
    target = TargetModel(library_model(family).to(dtype), pack=True)
    tokens = random_tokens(200, seed=6)
    cache, logits, start = target.new_cache(256), [], 0
    for n in (1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 17, 25, 33, 67):
        logits.append(run(target, cache, tokens[start : start + n], start))
        start += n
    assert start == len(tokens)
    assert torch.equal(torch.cat(logits), run(target, target.new_cache(256), tokens))


@torch.inference_mode()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_packed_row_has_the_same_bits_wherever_the_slots_it_sees_lie(family: str, dtype: torch.dtype) -> None:
    target, tokens = TargetModel(library_model(family).to(dtype), pack=True), random_tokens(40, seed=7)
    expected = run(target, target.new_cache(128), tokens)
    cache, slots = target.new_cache(128), sorted(random.Random(8).sample(range(128), 40))
    visible = np.zeros((40, 128), bool)
    for query in range(40):
        visible[query, slots[: query + 1]] = True
    inputs = masked_input(target, cache, [tokens], [list(range(40))], [slots], [visible])
    assert torch.equal(target.forward(inputs, cache, target.full_plan)[:40], expected)


@torch.inference_mode()
def test_the_parts_of_a_forward_give_what_it_gives(pack: bool) -> None:
    target, tokens = TargetModel(library_model("qwen3"), pack=pack), random_tokens(20)
    cache, places = target.new_cache(64), list(range(20))
    inputs = masked_input(target, cache, [tokens], [places], [places], [causal(20)])
    expected, frame, x = (
        target.forward(inputs, cache, target.full_plan),
        target.frame(inputs, cache),
        target.embed(inputs),
    )
    for layer in range(target.n_layers):
        x = target.advanced(x, frame, ((layer, True, False),))
        x = target.advanced(x, None, ((layer, False, True),))
    hidden = target.normalised(x)
    torch.testing.assert_close(hidden, target.hidden(inputs, cache, target.full_plan))
    torch.testing.assert_close(target.read(hidden), expected)
    wanted = torch.tensor([17, 3])
    torch.testing.assert_close(target.forward(inputs, cache, target.full_plan, wanted), expected[wanted])


@torch.inference_mode()
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("family", ["qwen2", "gemma2", "phi3"])
def test_released_weights_come_back_to_the_last_bit(family: str, tied: bool) -> None:
    model = library_model(family, tie_word_embeddings=tied).to(torch.bfloat16)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    target = TargetModel(model)
    expected = library_logits(model, random_tokens(10))
    target.pack(release=True)
    held = sum(parameter.nbytes for parameter in model.parameters())
    assert held < sum(parameter.nbytes for parameter in before.values()) / (2 if tied else 1.2)
    assert target.parameter_count == sum(parameter.numel() for parameter in before.values())
    restored = target.library_model
    assert all(torch.equal(parameter, before[name]) for name, parameter in restored.named_parameters())
    assert torch.equal(library_logits(restored, random_tokens(10)), expected)


def test_what_the_lean_forward_lacks_runs_on_the_librarys_layers() -> None:
    model = library_model(hidden_act="relu")
    with pytest.raises(UnsupportedModel, match=r"'relu'.*use backend auto"):
        TargetModel(model, backend="lean")
    assert TargetModel(model).backend == "generic"


def test_weights_in_two_dtypes_are_refused() -> None:
    model = library_model()
    model.lm_head.to(torch.bfloat16)
    with pytest.raises(
        UnsupportedModel, match=r"cannot be run .* nor by the lean backend: .*bfloat16 on cpu, float32 on cpu"
    ):
        TargetModel(model)


@pytest.mark.parametrize("family", FAMILIES)
def test_half_precision_follows_the_library(family: str, pack: bool) -> None:
    for dtype in (torch.bfloat16, torch.float16):
        model = AutoModelForCausalLM.from_config(library_model(family).config, dtype=dtype).eval()
        with torch.inference_mode():
            expected = library_logits(model, random_tokens(24))
            target = TargetModel(model, pack=pack)
            logits = run_in(target, random_tokens(24), dtype)
        assert (logits.float() - expected.float()).abs().max() < 0.1 * expected.float().abs().max()


def run_in(target: TargetModel, tokens: list[int], dtype: torch.dtype) -> torch.Tensor:
    cache = target.new_cache(len(tokens))
    places = list(range(len(tokens)))
    inputs = masked_input(target, cache, [tokens], [places], [places], [causal(len(tokens))])
    inputs.mask = inputs.mask.to(dtype)
    return target.forward(inputs, cache, target.full_plan)[: len(tokens)]


@pytest.mark.parametrize("name", ["gpt2", "mixtral"])
def test_a_model_in_training_is_told_to_be_evaluated(name: str) -> None:
    model = tiny_model(name).train()
    if name == "mixtral":
        model.gradient_checkpointing_enable()
    with pytest.raises(UnsupportedModel, match=r"call its eval\(\) first"):
        TargetModel(model)


@pytest.mark.parametrize("pack", [False, True])
def test_the_memory_of_a_cache_is_known_before_it_is_made(pack: bool) -> None:
    target = TargetModel(library_model("qwen2"), pack=pack)
    for capacity in (1, 64, 65, 300):
        assert target.cache_bytes(capacity) == target.new_cache(capacity).n_bytes


def test_forwards_that_cannot_be_captured_are_told_of_in_a_line() -> None:
    target = TargetModel(library_model())
    with pytest.raises(UnsupportedOption, match="cpu is no CUDA device; run them without"), target.captured(True):
        pass
    with target.captured(False):
        assert target.forwards is None
