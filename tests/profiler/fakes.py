"""A clock that only moves when told, a device of known latency, and a tiny model."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from math import log2
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from casspec.runtime.latency.features import FEATURES, padded_tokens
from casspec.runtime.model.target import TargetModel
from casspec.storage.schema import LatencyPoint, LatencySample, Measurement

SHAPE = {
    "attention_bytes": 5e5,
    "mlp_bytes": 1.1e6,
    "head_bytes": 2e6,
    "row_bytes": 1024.0,
    "attention_operations": 5e5,
    "mlp_operations": 1.1e6,
    "head_operations": 2e6,
    "score_operations": 1024.0,
    "ms_per_byte": 1 / 40e6,
    "ms_per_operation": 1 / 500e6,
    "launch_ms": 1.5e-3,
}

TRUE_COEFFICIENTS = {
    "constant": 20.0,
    "attention_launches": 50.0,
    "mlp_launches": 30.0,
    "weight_bytes": 1.2,
    "attention_operations": 1.5,
    "mlp_operations": 1.3,
    "head_operations": 1.1,
    "context_bytes": 6.0,
    "context_x_tokens": 5.0,
    "context_single_query": 9.0,
}

WAVERING_NOISE = 0.01
"""Of what `samples_of` draws, relative."""


def true_ms(point: LatencyPoint) -> float:
    return sum(weight * FEATURES[name](point, SHAPE) for name, weight in TRUE_COEFFICIENTS.items())


def synthetic_samples(points: Iterable[LatencyPoint], noise: float = 0.0, seed: int = 0) -> list[LatencySample]:
    """Nine values a point around `true_ms`, with relative Gaussian noise common to a point."""
    dice = random.Random(seed)
    samples = []
    for order, point in enumerate(points):
        middle = true_ms(point) * (1.0 + dice.gauss(0.0, noise))
        values = tuple(middle * (1.0 + 0.001 * step) for step in range(-4, 5))
        samples.append(LatencySample(point=point, measurement=Measurement(values=values), order=order))
    return samples


class FakeClock:
    """Seconds that pass only when something advances them."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds

    def taking(self, milliseconds: Callable[[], float]) -> Callable[[], None]:
        """A call that takes as long as `milliseconds()` says."""

        def call() -> None:
            self.seconds += milliseconds() / 1e3

        return call


def model_of(n_layers: int = 12, max_context: int = 2048) -> Any:
    """What a design asks of a model."""
    return SimpleNamespace(n_layers=n_layers, max_context=max_context)


def tiny_target(seed: int = 0, **changes: object) -> TargetModel:
    torch.manual_seed(seed)
    fields: dict[str, object] = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "vocab_size": 64,
        "max_position_embeddings": 256,
        "bos_token_id": 0,
        "eos_token_id": 1,
    }
    model = LlamaForCausalLM(LlamaConfig(**fields | changes)).eval().requires_grad_(False)
    return TargetModel(model, name="tiny")


def uneven_ms(point: LatencyPoint) -> float:
    """Kernels that waver with the query length and caches that overflow in the middle, as no feature knows."""
    waver = 1.0 + 0.12 * np.sin(2.5 * log2(padded_tokens(point) + 1))
    return true_ms(point) * waver * (1.0 + 0.1 * np.tanh((point.context_tokens - 700) / 300))


def samples_of(points: tuple[LatencyPoint, ...], ms: Callable[[LatencyPoint], float]) -> list[LatencySample]:
    dice = random.Random(0)
    return [
        LatencySample(point=point, measurement=Measurement(values=(ms(point) * (1 + dice.gauss(0, WAVERING_NOISE)),)))
        for point in points
    ]
