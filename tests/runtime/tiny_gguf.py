"""Tiny GGUF files of a random model, written by the format's own library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor
from transformers.convert_slow_tokenizer import bytes_to_unicode

from tests.runtime.tiny import library_model

CHAT_TEMPLATE = "{% for message in messages %}<|start|>{{ message['content'] }}<|end|>{% endfor %}"
SPECIAL = ("<|end|>", "<|start|>", "<|turn|>", "<|endoftext|>")
TOKENS = (*SPECIAL, *bytes_to_unicode().values(), "ab")
"""A byte each, and what the only merge makes."""

NAMES = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
    "self_attn.qkv_proj": "attn_qkv",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.gate_up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "model.layers": "blk",
}


FOUR_NORMS = NAMES | {"post_attention_layernorm": "post_attention_norm"}
"""Of families that norm what attention gives as well."""

GEMMA: dict[str, Any] = {"query_pre_attn_scalar": 8, "tie_word_embeddings": True}
OF_FAMILY: dict[str, dict[str, Any]] = {
    "gemma2": GEMMA,
    "gemma3_text": GEMMA | {"layer_types": None, "final_logit_softcapping": None},
}
"""What a file of the family has no key for is as usual."""


def model_in_file(family: str = "llama") -> Any:
    """The random model that `write_gguf` writes, as transformers' own: tokens as in the file's tokenizer, inputs in groups of 32."""
    return library_model(family, vocab_size=len(TOKENS), intermediate_size=64, **OF_FAMILY.get(family, {}))


def write_gguf(path: Path, architecture: str = "llama", family: str = "llama", **metadata: str | int) -> Path:
    """Writes `model_in_file(family)` in float32, with a byte tokenizer and a chat template.

    `architecture`: what the file says it is. `metadata`: further entries, by keys with __ for dots.
    """
    gguf = pytest.importorskip("gguf")
    model = model_in_file(family)
    config = model.config
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    rope = config.rope_parameters.get("full_attention", config.rope_parameters)
    writer.add_rope_dimension_count(int(config.head_dim * rope.get("partial_rotary_factor", 1)))
    writer.add_rope_freq_base(rope["rope_theta"])
    if getattr(config, "sliding_window", None):
        writer.add_sliding_window(config.sliding_window)
    if getattr(config, "attn_logit_softcapping", None):
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([*TOKENS])
    writer.add_token_types([3] * len(SPECIAL) + [1] * (len(TOKENS) - len(SPECIAL)))
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(0)
    writer.add_chat_template(CHAT_TEMPLATE)
    for key, value in metadata.items():
        add = writer.add_string if isinstance(value, str) else writer.add_uint32
        add(key.replace("__", "."), value)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads} if family == "llama" else {}
    is_gemma = family.startswith("gemma")
    for name, weight in model.named_parameters():
        kept = (
            weight + 1 if is_gemma and "norm" in name else weight
        )  # a file has the whole factor, not its difference from one
        writer.add_tensor(
            _name(name, FOUR_NORMS if is_gemma else NAMES), _interleaved(kept, heads.get(name.split(".")[-2]))
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _name(name: str, names: dict[str, str]) -> str:
    for ours, theirs in names.items():
        name = name.replace(ours, theirs)
    return name


def _interleaved(weight: Tensor, heads: int | None) -> np.ndarray:
    """Rows of queries and keys in llama.cpp's order: both halves of a head take turns."""
    if heads is None:
        return weight.detach().numpy()
    return weight.detach().unflatten(0, (heads, 2, -1)).swapaxes(1, 2).reshape(weight.shape).numpy()
