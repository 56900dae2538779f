"""Tiny random models of every family, and what tests compare them with: the library's own model."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from casspec.runtime.decoding.successors import TOP_SUCCESSORS
from casspec.runtime.drafters.token_recycling import RecyclingMatrix
from casspec.runtime.latency.predictor import builtin_latency
from casspec.runtime.loading.device import device_fingerprint
from casspec.runtime.loading.fingerprint import model_fingerprint
from casspec.runtime.loading.profiles import LoadedProfile
from casspec.runtime.model.forward_input import CONTEXT_STEP, ForwardInput, bucket
from casspec.runtime.model.kv_cache import KVCache
from casspec.runtime.model.target import TargetModel
from casspec.storage.schema import (
    AcceptanceCell,
    AcceptancePrior,
    CascadeProfile,
    DrafterSpec,
    LatencyModel,
    MethodSettings,
    Precision,
    Quantization,
    SkipSet,
)

VOCAB = 31
FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi3")

OF_FAMILY: dict[str, dict[str, Any]] = {
    "mistral": {"sliding_window": 20},
    "gemma2": {
        "sliding_window": 24,
        "query_pre_attn_scalar": 12,
        "attn_logit_softcapping": 2.0,
        "final_logit_softcapping": 3.0,
    },
    "gemma3_text": {
        "sliding_window": 16,
        "query_pre_attn_scalar": 12,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "sliding_attention"],
    },
    "phi3": {
        "sliding_window": 28,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5},
    },
}
"""Settings that make what is particular to a family matter in a tiny model; windows are shorter than most texts."""


def library_model(family: str = "llama", seed: int = 0, **changes: Any) -> Any:
    """A random model with weights large enough that its continuations are not trivial. No end-of-sequence id."""
    settings: dict[str, Any] = {
        "vocab_size": VOCAB,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 256,
        "initializer_range": 0.2,
        "tie_word_embeddings": False,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    }
    torch.manual_seed(seed)
    config = AutoConfig.for_model(family, **settings | OF_FAMILY.get(family, {}) | changes)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.5)  # zero at initialisation, which would hide a bias left out
            elif "norm" in name:
                parameter.uniform_(0.5, 1.5)
    return model.requires_grad_(False)


def tiny_target(family: str = "llama", seed: int = 0, pack: bool = True, **changes: Any) -> TargetModel:
    return TargetModel(library_model(family, seed, **changes), name=f"tiny-{family}", pack=pack)


def greedy(target: TargetModel, prompt: list[int], n_tokens: int) -> list[int]:
    """The library's own greedy continuation."""
    if n_tokens == 0:
        return []
    ids = target.library_model.generate(torch.tensor([prompt]), max_new_tokens=n_tokens, do_sample=False)
    return ids[0, len(prompt) :].tolist()


def repetitive_prompt(n_tokens: int, seed: int = 0, period: int = 7) -> list[int]:
    """A text that repeats itself with a few changes, so that retrieval finds something."""
    generator = torch.Generator().manual_seed(seed)
    phrase = torch.randint(VOCAB, (period,), generator=generator).tolist()
    text = (phrase * (n_tokens // period + 1))[:n_tokens]
    for place in range(0, n_tokens, 2 * period + 1):
        text[place] = int(torch.randint(VOCAB, (), generator=generator))
    return text


def masked_input(
    target: TargetModel,
    cache: KVCache,
    tokens: list[list[int]],
    positions: list[list[int]],
    slots: list[list[int]],
    visible: list[np.ndarray],
) -> ForwardInput:
    """Input of a forward over a batch, by definition: `visible[b]` [queries, slots] says what each query attends to.

    Sequences are padded to one bucket; padding rows write to the scratch slot of their sequence.
    """
    size = bucket(max(map(len, tokens)))
    width = max(rows.shape[1] for rows in visible)
    length = min(-(-width // CONTEXT_STEP) * CONTEXT_STEP, cache.capacity)
    mask = torch.full((len(tokens), 1, size, length), -torch.inf, dtype=target.dtype)
    mask[..., 0] = 0
    flat_rows = []
    for b, rows in enumerate(visible):
        n = len(tokens[b])
        mask[b, 0, :n] = -torch.inf
        mask[b, 0, :n, : rows.shape[1]].masked_fill_(torch.from_numpy(rows), 0)
        flat_rows += [b * cache.slots + slot for slot in slots[b] + [cache.scratch_slot] * (size - n)]

    def padded(values: list[list[int]]) -> Tensor:
        return torch.tensor([row + [0] * (size - len(row)) for row in values])

    return ForwardInput(padded(tokens), padded(positions), torch.tensor(flat_rows), mask, length)


def causal(n_queries: int, start: int = 0) -> np.ndarray:
    """Query i sees slots 0 .. start + i."""
    return np.tri(n_queries, start + n_queries, start, dtype=bool)


def run(target: TargetModel, cache: KVCache, tokens: list[int], start: int = 0, plan: Any = None) -> Tensor:
    """Logits [tokens, vocab] of a causal forward of one sequence that goes on from `start` rows."""
    places = list(range(start, start + len(tokens)))
    inputs = masked_input(target, cache, [tokens], [places], [places], [causal(len(tokens), start)])
    return target.forward(inputs, cache, plan or target.full_plan)[: len(tokens)]


def first_rows(cache: KVCache, n: int) -> list[Tensor]:
    """Copies of the first `n` cache rows, keys and values by layer."""
    layers = [cache.rows(layer) for layer in range(cache.n_layers)]
    return [part[:n].clone() for layer in layers for part in layer]


def cold_matrix(target: TargetModel, seed: int = 0) -> RecyclingMatrix:
    """A matrix such as calibration records, with some tokens never seen."""
    generator = np.random.default_rng(seed)
    width = min(TOP_SUCCESSORS, target.vocab_size)
    ids = np.stack([generator.permutation(target.vocab_size)[:width] for _ in range(target.vocab_size)]).astype(
        np.int32
    )
    ids[::5] = -1
    logits = -np.sort(-generator.normal(size=ids.shape).astype(np.float32), axis=1)
    return RecyclingMatrix(ids, logits)


def low_bit_drafters(target: TargetModel) -> list[DrafterSpec]:
    """A self-drafter in 8 bits; none where no kernel runs them."""
    int8 = Precision.INT8_DYNAMIC
    if target.refusal(int8):
        return []
    quantization = Quantization(precision=int8, extra_bytes=target.extra_bytes(int8))
    skip, parameters = SkipSet(mlp=(2,)), {"acceptance": 0.7}
    return [DrafterSpec(name="low-bit", kind="self", skip=skip, quantization=quantization, parameters=parameters)]


def slow_latency(target: TargetModel) -> LatencyModel:
    """The built-in model with forwards a thousand times longer: what a review costs beside its forward is small, so reviews happen."""
    model = builtin_latency(target)
    slower = tuple(1000 * coefficient for coefficient in model.coefficients)
    return model.model_copy(update={"fitted_context_tokens": (16, 128), "coefficients": slower})


def tiny_profile(target: TargetModel, **changes: Any) -> LoadedProfile:
    """A profile of this very model on this device: two self-drafters, a third in 8 bits where these run, priors, a recycling matrix."""
    cells = tuple(AcceptanceCell(key=f"retrieval:{cell}", accepted=6, trials=10) for cell in range(0, 200, 3))
    fields: dict[str, Any] = {
        "created_at": "2026-03-01T10:00:00+00:00",
        "casspec_version": "0.1.0",
        "model": model_fingerprint(target),
        "device": device_fingerprint(target.device),
        "dtype": target.dtype_name,
        "backend": None if target.backend == "lean" else target.backend,
        "forwards": target.forwards,
        "drafters": (
            DrafterSpec(
                name="light", kind="self", skip=SkipSet(attention=(1,), mlp=(2,)), parameters={"acceptance": 0.8}
            ),
            DrafterSpec(
                name="lighter", kind="self", skip=SkipSet(attention=(1, 2), mlp=(1, 2)), parameters={"acceptance": 0.5}
            ),
            *low_bit_drafters(target),
            DrafterSpec(name="prompt-lookup", kind="prompt-lookup"),
        ),
        "latency": slow_latency(target),
        "acceptance": (AcceptancePrior(mode="greedy", cells=cells), AcceptancePrior(mode="sample", cells=cells)),
        "methods": (
            MethodSettings(method="dytc", variant="tuned", parameters={"max_nodes": 24, "start_speedup": 1.0}),
        ),
        "suite": "tiny",
        "seed": 0,
    }
    return LoadedProfile(CascadeProfile(**fields | changes), cold_matrix(target).to_bytes())
