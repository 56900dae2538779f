"""Models that no forward of this project can decode with drafts, by name: what is in the way, and what to do instead."""

from __future__ import annotations

from typing import Any

ATTENTION_KINDS = frozenset({"full_attention", "sliding_attention", "attention"})
"""Kinds of layers whose whole state is keys and values of tokens."""

OTHER_MASKS = ("flex", "flash", "paged")
"""In names of the library's attention: kernels that take other masks than additive ones, or read past the end of these."""

PLAIN = "decode it with transformers' own generate"
STATE = "it keeps a state that runs along the text, from which rejected drafts cannot be taken back"
CHUNKS = "it sees tokens in chunks or through an index, which trees of drafts cannot follow"
SHARED = "its layers share keys and values, which are not written where they are read"
ALIBI = "it puts distances of slots into its scores (alibi), where nodes of a tree stand side by side"
WINDOWS = "it hides tokens inside its layers, where no mask of ours can follow"

BY_NAME = {
    **dict.fromkeys(
        (
            "mamba", "mamba2", "falcon_mamba", "falcon_h1", "jamba", "bamba", "zamba", "zamba2", "nemotron_h", "rwkv", "xlstm",
            "recurrent_gemma", "granitemoehybrid", "qwen3_next", "qwen3_5_text", "qwen3_5_moe_text", "kimi_linear", "lfm2", "lfm2_moe",
            "minimax", "olmo_hybrid", "zaya",
        ),
        STATE,
    ),
    **dict.fromkeys(("llama4_text", "deepseek_v32", "reformer", "longformer", "bigbird_pegasus"), CHUNKS),
    **dict.fromkeys(("gemma3n_text",), SHARED),
    **dict.fromkeys(("bloom", "mpt"), ALIBI),
    **dict.fromkeys(("doge", "gpt_neo"), WINDOWS),
}  # fmt: skip


def refused(config: Any) -> str | None:
    """Why a model of this config cannot be decoded, in one line that says what to do; None where nothing in the config is in the way."""
    reason = _reason(config)
    return None if reason is None else told(config, reason)


def attention_refusal(config: Any) -> str | None:
    """Why the attention that a model was loaded with cannot run over trees, as `refused` says it; None where it can."""
    kind = str(getattr(config, "_attn_implementation", None))
    if not any(word in kind for word in OTHER_MASKS):
        return None
    return told(config, f"its attention '{kind}' takes no mask of drafts; load it with attn_implementation='sdpa'")


def told(config: Any, reason: object) -> str:
    """A refusal as users read it."""
    return f"model family '{config.model_type}' cannot be decoded with drafts: {reason}; {PLAIN}"


def first_line(error: Exception) -> str:
    """Of what the library says, as much as fits a line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]


def _reason(config: Any) -> str | None:
    if config.model_type in BY_NAME:
        return BY_NAME[config.model_type]
    if getattr(config, "is_encoder_decoder", False):
        return "it has an encoder, and drafts are for models that are decoders alone"
    if getattr(config, "alibi", False):
        return ALIBI
    kinds = set(getattr(config, "layer_types", None) or ())
    if others := sorted(kinds - ATTENTION_KINDS):
        return f"it has layers of the kind {', '.join(others)}: " + (
            CHUNKS if "chunk" in others[0] or "index" in others[0] else STATE
        )
    if getattr(config, "num_kv_shared_layers", 0):
        return SHARED
    return STATE if _is_stateful(config) else None


def _is_stateful(config: Any) -> bool:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    try:
        kind = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    except KeyError:
        return False
    return bool(getattr(kind, "_is_stateful", False))
