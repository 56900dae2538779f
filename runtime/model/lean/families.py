"""What a config says of a model: which family it is, refused by name where the forward does not cover it, and its sizes.

A family is one row of `FAMILIES`. It is listed only when a test shows equal logits with the library's own model on random tiny
configurations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from casspec.storage.errors import UnsupportedModel


@dataclass(frozen=True, slots=True)
class Family:
    """What distinguishes a family's decoder layer from the plain Llama one (biases are read off the weights)."""

    name: str
    qk_norm: bool = False
    """Root-mean-square norm over each head of queries and keys, before the rotary embedding."""


FAMILIES = {
    family.name: family
    for family in (Family("llama"), Family("mistral"), Family("qwen2"), Family("qwen3", qk_norm=True))
}

STATIC_ROPE = {"default", "linear", "llama3", "yarn"}
"""Rotary scalings whose frequencies do not change with the length of the sequence."""


@dataclass(frozen=True, slots=True)
class Dimensions:
    """What every layer of a decoder shares.

    Attributes:
        intermediate: width of the MLP.
        epsilon: of the norms.
    """

    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    epsilon: float

    @classmethod
    def of(cls, config: Any) -> Dimensions:
        """Of a Hugging Face config."""
        heads = config.num_attention_heads
        return cls(
            config.hidden_size,
            heads,
            getattr(config, "num_key_value_heads", None) or heads,
            getattr(config, "head_dim", None) or config.hidden_size // heads,
            config.intermediate_size,
            config.vocab_size,
            config.rms_norm_eps,
        )


def family_of(config: Any) -> Family:
    """The family of a Hugging Face config. Raises UnsupportedModel naming what is not covered."""
    family = FAMILIES.get(config.model_type)
    if family is None:
        raise UnsupportedModel(
            f"model family '{config.model_type}' is not supported; supported families: {', '.join(sorted(FAMILIES))}"
        )
    _refuse_short_window(config)
    _refuse_dynamic_rope(config)
    if config.hidden_act not in ("silu", "swish"):
        raise UnsupportedModel(f"activation '{config.hidden_act}' is not supported; supported: silu")
    return family


def _refuse_short_window(config: Any) -> None:
    if getattr(config, "use_sliding_window", True) is False:
        return
    window = getattr(config, "sliding_window", None)
    layer_types = getattr(config, "layer_types", None) or ["sliding_attention"]
    if window is not None and window < config.max_position_embeddings and "sliding_attention" in layer_types:
        raise UnsupportedModel(
            f"this {config.model_type} attends through a sliding window of {window} tokens, shorter than its context of "
            f"{config.max_position_embeddings}; only full attention is supported"
        )


def _refuse_dynamic_rope(config: Any) -> None:
    rope_type = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    if rope_type not in STATIC_ROPE:
        raise UnsupportedModel(
            f"rotary scaling '{rope_type}' is not supported; supported scalings: {', '.join(sorted(STATIC_ROPE))}"
        )
