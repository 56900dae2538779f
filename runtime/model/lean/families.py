"""What a config says of a model: which family it is, refused by name where the forward does not cover it, and its sizes.

A family is one row of `FAMILIES`. It is listed only when a test shows equal logits with the library's own model on random tiny
configurations.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from casspec.storage.errors import UnsupportedModel


@dataclass(frozen=True, slots=True)
class Family:
    """What distinguishes a family's decoder layer from the plain Llama one.

    Biases, and linears that are fused already, are read off the weights; numbers off the config.
    """

    name: str
    qk_norm: bool = False
    """Root-mean-square norm over each head of queries and keys, before the rotary embedding."""
    windows: Literal["none", "all", "by type"] = "none"
    """Which layers see no further than `sliding_window`: all, or those whose type says so."""
    four_norms: bool = False
    """What a sub-layer gives is normed before it is added, too."""
    norms_from_one: bool = False
    """Weights of norms are kept as their difference from one."""
    scaled_embedding: bool = False
    """Embeddings are multiplied by the root of their width."""
    activation: str = "hidden_act"
    """The config's name for the activation of the MLP."""
    numbers: tuple[str, ...] = ()
    """Those of NUMBERS that its model reads; a config may hold others."""


NUMBERS = ("query_pre_attn_scalar", "attn_logit_softcapping", "final_logit_softcapping")
"""What scores of attention are divided by the root of; the bounds of scores and of logits."""

FAMILIES = {
    family.name: family
    for family in (
        Family("llama"),
        Family("mistral", windows="all"),
        Family("qwen2", windows="by type"),
        Family("qwen3", qk_norm=True, windows="by type"),
        Family("gemma", norms_from_one=True, scaled_embedding=True),
        Family(
            "gemma2",
            windows="by type",
            four_norms=True,
            norms_from_one=True,
            scaled_embedding=True,
            activation="hidden_activation",
            numbers=NUMBERS,
        ),
        Family(
            "gemma3_text",
            qk_norm=True,
            windows="by type",
            four_norms=True,
            norms_from_one=True,
            scaled_embedding=True,
            activation="hidden_activation",
            numbers=("query_pre_attn_scalar", "final_logit_softcapping"),
        ),
        Family("phi3", windows="all"),
    )
}

STATIC_ROPE = {"default", "linear", "llama3", "yarn"}
"""Rotary scalings whose frequencies do not change with the length of the sequence."""

LAYER_TYPES = {"full_attention", "sliding_attention"}

Activation = Literal["silu", "gelu-tanh", "gelu"]

ACTIVATIONS: dict[str, Activation] = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_pytorch_tanh": "gelu-tanh",
    "gelu_new": "gelu-tanh",
}
"""By the library's name."""


@dataclass(frozen=True, slots=True)
class Dimensions:
    """What every layer of a decoder shares.

    Attributes:
        intermediate: width of the MLP.
        epsilon: of the norms.
        activation: of the MLP.
        embedding_scale: what embeddings are multiplied by.
        query_scalar: what scores of attention are divided by the root of; by default the width of a head.
        score_cap, logit_cap: largest size of a score of attention and of a logit, soft bounds; None for none.
    """

    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    epsilon: float
    activation: Activation = "silu"
    embedding_scale: float = 1.0
    query_scalar: float | None = None
    score_cap: float | None = None
    logit_cap: float | None = None

    @classmethod
    def of(cls, config: Any, family: Family) -> Dimensions:
        """Of a Hugging Face config that `family_of` took."""
        heads = config.num_attention_heads
        return cls(
            config.hidden_size,
            heads,
            getattr(config, "num_key_value_heads", None) or heads,
            getattr(config, "head_dim", None) or config.hidden_size // heads,
            config.intermediate_size,
            config.vocab_size,
            config.rms_norm_eps,
            _activation_of(config, family),
            config.hidden_size**0.5 if family.scaled_embedding else 1.0,
            *(getattr(config, name) if name in family.numbers else None for name in NUMBERS),
        )

    @property
    def score_scale(self) -> float:
        """What products of queries and keys are multiplied by."""
        return (self.query_scalar or self.head_dim) ** -0.5


def family_of(config: Any) -> Family:
    """The family of a Hugging Face config. Raises UnsupportedModel naming what is not covered."""
    family = FAMILIES.get(config.model_type)
    if family is None:
        raise UnsupportedModel(
            f"model family '{config.model_type}' is not supported; supported families: {', '.join(sorted(FAMILIES))}"
        )
    _activation_of(config, family)
    _refuse_dynamic_rope(config)
    _refuse_other_attention(config, family)
    return family


def windows_of(config: Any, family: Family) -> tuple[int | None, ...]:
    """By layer how many positions a query sees, its own included; None where that is the whole context."""
    n_layers = config.num_hidden_layers
    window = None if family.windows == "none" else config.sliding_window
    if window is None or window >= config.max_position_embeddings:
        return (None,) * n_layers
    if family.windows == "all":
        return (window,) * n_layers
    return tuple(window if kind == "sliding_attention" else None for kind in config.layer_types)


def _activation_of(config: Any, family: Family) -> Activation:
    name = getattr(config, family.activation)
    if name not in ACTIVATIONS:
        raise UnsupportedModel(f"activation '{name}' is not supported; supported: {', '.join(sorted(ACTIVATIONS))}")
    return ACTIVATIONS[name]


def _refuse_other_attention(config: Any, family: Family) -> None:
    if getattr(config, "use_bidirectional_attention", None):
        raise UnsupportedModel(f"this {config.model_type} attends to what follows a token; it cannot decode")
    others = set(config.layer_types) - LAYER_TYPES if family.windows == "by type" else set()
    if others:
        raise UnsupportedModel(
            f"layers of type '{min(others)}' are not supported; supported types: {', '.join(sorted(LAYER_TYPES))}"
        )


def _refuse_dynamic_rope(config: Any) -> None:
    for rope_type in _rope_types(getattr(config, "rope_parameters", None) or {}):
        if rope_type not in STATIC_ROPE:
            raise UnsupportedModel(
                f"rotary scaling '{rope_type}' is not supported; supported scalings: {', '.join(sorted(STATIC_ROPE))}"
            )


def _rope_types(parameters: dict[str, Any]) -> Iterator[str]:
    """Of all layers, or by type of layer."""
    by_type = [part for part in parameters.values() if isinstance(part, dict)]
    for part in by_type or [parameters]:
        yield part.get("rope_type", "default")
