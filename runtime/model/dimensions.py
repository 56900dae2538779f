"""The sizes of a decoder, read off its config."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


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
