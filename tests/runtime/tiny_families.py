"""Tiny random models of many decoder-only families, and of families that a generic backend must refuse."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForCausalLM

from tests.runtime.tiny import VOCAB

WINDOW = 9
SLIDING_FIRST = ["sliding_attention", "full_attention"] * 2
FULL_LAST = ["sliding_attention"] * 3 + ["full_attention"]
LINEAR_FIRST = ["linear_attention", "full_attention"] * 2

BASE: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.4,
    "tie_word_embeddings": False,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
OLD_NAMES: dict[str, Any] = {"n_embd": 32, "n_layer": 4, "n_head": 4, "n_positions": 256, "n_inner": 48}
"""What gpt2 and its kin call the sizes of `BASE`."""
NEVER = {"bos_token_id": VOCAB, "eos_token_id": VOCAB, "cls_token_id": VOCAB, "sep_token_id": VOCAB, "pad_token_id": 0}
"""For configurations that insist on special tokens: none that the model can produce."""
SAME_HEADS = {"num_key_value_heads": 4}
HEAD = {"head_dim": 8}
MIXED = {"sliding_window": WINDOW, "layer_types": SLIDING_FIRST}
TWO_HEAD_SIZES = (
    HEAD | MIXED | {"per_layer_config": {"1": {"head_dim": 16}, "3": {"head_dim": 16}}, "num_kv_shared_layers": 0}
)
LATENT = SAME_HEADS | {"kv_lora_rank": 16, "qk_rope_head_dim": 4, "qk_nope_head_dim": 8, "v_head_dim": 8}
ROUTED = {
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "first_k_dense_replace": 1,
    "n_group": 1,
    "topk_group": 1,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
LOCAL_EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
DENSE_FIRST = {"mlp_layer_types": ["dense"] + ["sparse"] * 3}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 1e4,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 16}
MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_chunk_size": 16}
DELTA = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "layer_types": LINEAR_FIRST,
}


@dataclass(frozen=True)
class TinyFamily:
    """A tiny configuration.

    name: what tests call it; the model type, followed by a variant if there are several.
    changes: fields of the configuration that differ from `BASE`.
    traits: words tests select by. `window`: every layer has one window. `mixed`: layers with a window and without.
    `moe`, `latent` (keys and values of low rank), `sinks`, `softcap` (of attention scores), `table` (of positions),
    `parallel` (attention and MLP read the same input), `tied`, `scaled` (embeddings, residuals or logits are),
    `no-skip` (a layer with both sub-layers zeroed is not the identity). In `REFUSED`: why.
    """

    name: str
    model_type: str
    changes: dict[str, Any] = field(default_factory=dict)
    traits: frozenset[str] = frozenset()


def family(name: str, traits: str = "", **changes: Any) -> TinyFamily:
    """`qwen2-window` is a variant of the model type `qwen2`; a few model types have a hyphen of their own."""
    model_type = name if name in CONFIG_MAPPING else name.split("-")[0]
    return TinyFamily(name, model_type, changes, frozenset(traits.split()))


FAMILIES = (
    family("afmoe", "mixed moe", **SAME_HEADS, **HEAD, **EXPERTS, **MIXED, num_shared_experts=1),
    family("apertus"),
    family("arcee", **HEAD),
    family("aria_text", "moe", **HEAD, moe_num_experts=4, moe_topk=2, moe_num_shared_experts=1),
    family("axk1", "latent moe", **LATENT, **ROUTED, **DENSE_FIRST, q_lora_rank=12),
    family("biogpt", "table scaled"),
    family("bitnet"),
    family("codegen", "parallel", **OLD_NAMES, rotary_dim=4),
    family("cohere", "parallel scaled", use_qk_norm=True),
    family("cohere2", "mixed parallel scaled", **HEAD, sliding_window=WINDOW, layer_types=FULL_LAST),
    family("cohere2_moe", "mixed moe parallel scaled", **HEAD, **EXPERTS, **MIXED),
    family("ctrl", "table scaled", n_embd=32, n_layer=4, n_head=4, n_positions=256, dff=48),
    family("cwm", "mixed", **HEAD, **MIXED, bos_token_id=VOCAB),
    family(
        "dbrx",
        "moe",
        d_model=32,
        n_heads=4,
        n_layers=4,
        max_seq_len=256,
        attn_config={"kv_n_heads": 2, "clip_qkv": 1.5, "rope_theta": 1e4},
        ffn_config={"hidden_size": 32, "ffn_hidden_size": 16, "moe_num_experts": 4, "moe_top_k": 2},
    ),
    family("deepseek_v2", "latent moe", **LATENT, **ROUTED | {"n_group": None, "topk_group": None}, q_lora_rank=None),
    family("deepseek_v2-query", "latent moe", **LATENT, **ROUTED, q_lora_rank=12, topk_method="group_limited_greedy"),
    family("deepseek_v3", "latent moe", **LATENT, **ROUTED, q_lora_rank=12),
    family("deepseek_v3-query", "latent moe", **LATENT, **ROUTED, q_lora_rank=None),
    family("diffllama", **HEAD),
    family("dots1", "mixed moe", **ROUTED, **MIXED, **HEAD),
    family("ernie4_5", **HEAD),
    family(
        "ernie4_5_moe",
        "moe",
        **HEAD,
        moe_num_experts=4,
        moe_k=2,
        moe_intermediate_size=16,
        moe_num_shared_experts=1,
        moe_layer_start_index=1,
        moe_layer_end_index=3,
    ),
    family("exaone4", "mixed", sliding_window=WINDOW, sliding_window_pattern=4, layer_types=FULL_LAST),
    family("exaone_moe", "mixed moe", **EXPERTS, **MIXED, **DENSE_FIRST, first_k_dense_replace=1, num_shared_experts=1),
    family("falcon", "parallel", alibi=False, ffn_hidden_size=48),
    family("falcon-new", "parallel", alibi=False, new_decoder_architecture=True, num_kv_heads=2, ffn_hidden_size=48),
    family("falcon-serial", alibi=False, parallel_attn=False, multi_query=False, bias=True, ffn_hidden_size=48),
    family("flex_olmo", "moe", num_experts=4, num_experts_per_tok=2),
    family(
        "flint", "mixed moe sinks", **HEAD, **EXPERTS, **MIXED, shared_expert_intermediate_size=16, mlp_only_layers=[0]
    ),
    family("gemma", "scaled tied", **HEAD, tie_word_embeddings=True),
    family("gemma2", "mixed softcap scaled", **HEAD, **MIXED, query_pre_attn_scalar=8),
    family(
        "gemma3_text", "mixed scaled", **HEAD, sliding_window=WINDOW, layer_types=FULL_LAST, query_pre_attn_scalar=8
    ),
    family("gemma4_text", "mixed scaled no-skip", **TWO_HEAD_SIZES, hidden_size_per_layer_input=0),
    family(
        "gemma4_text-layered",
        "mixed scaled no-skip",
        **TWO_HEAD_SIZES,
        hidden_size_per_layer_input=8,
        vocab_size_per_layer_input=VOCAB,
    ),
    family(
        "gemma4_text-moe",
        "mixed moe scaled no-skip",
        **TWO_HEAD_SIZES | EXPERTS,
        hidden_size_per_layer_input=0,
        enable_moe_block=True,
        top_k_experts=2,
        attention_k_eq_v=True,
    ),
    family("gemma4_unified_text", "mixed scaled no-skip", **TWO_HEAD_SIZES),
    family("glm", **HEAD),
    family("glm4", **HEAD),
    family("glm4_moe", "moe", **ROUTED, **HEAD),
    family("glm4_moe_lite", "latent moe", **LATENT, **ROUTED, **DENSE_FIRST, q_lora_rank=12),
    family("gpt2", "table tied", **OLD_NAMES, tie_word_embeddings=True),
    family("gpt_bigcode", "table tied", **OLD_NAMES, tie_word_embeddings=True),
    family("gpt_neox", "parallel"),
    family("gpt_neox-serial", use_parallel_residual=False),
    family("gpt_neox_japanese", intermediate_multiple_size=2),
    family("gpt_oss", "mixed moe sinks", **HEAD, **MIXED, **LOCAL_EXPERTS),
    family("gptj", "parallel", **OLD_NAMES, rotary_dim=4),
    family("granite", "scaled", embedding_multiplier=1.5, logits_scaling=2.0, residual_multiplier=0.7),
    family("granite_swa", "mixed sinks scaled", **MIXED, residual_multiplier=0.7),
    family("granitemoe", "moe scaled", **LOCAL_EXPERTS, logits_scaling=2.0, residual_multiplier=0.7),
    family("granitemoe_swa", "mixed moe sinks", **LOCAL_EXPERTS, **MIXED, shared_intermediate_size=16),
    family("granitemoeshared", "moe", **LOCAL_EXPERTS, shared_intermediate_size=16),
    family("helium", **HEAD),
    family("hunyuan_v1_dense", **HEAD),
    family("hunyuan_v1_moe", "moe", **HEAD, num_experts=4, moe_topk=2),
    family("hy_v3", "moe", **HEAD, **EXPERTS, **DENSE_FIRST, num_shared_experts=1),
    family("hyperclovax", "scaled", **HEAD, attention_multiplier=0.35),
    family("internlm3", **HEAD),
    family("iquestcoder", **HEAD),
    family("jais2", **HEAD),
    family("jetmoe", "moe", **LOCAL_EXPERTS, kv_channels=8),
    family("kolibri1", "mixed moe", **HEAD, **LOCAL_EXPERTS, **MIXED, moe_intermediate_size=16),
    family("laguna", "mixed moe", **HEAD, **EXPERTS, **MIXED),
    family("llama", **HEAD),
    family("llama-llama3", **HEAD, rope_parameters=LLAMA3),
    family("llama-yarn", **HEAD, rope_parameters=YARN),
    family("mellum", "mixed moe", **HEAD, **LOCAL_EXPERTS, **MIXED, moe_intermediate_size=16),
    family("mimo_v2_flash", "mixed moe sinks", **HEAD, **ROUTED, **MIXED, **DENSE_FIRST, v_head_dim=6),
    family("minicpm3", "latent scaled", **LATENT, q_lora_rank=12, dim_model_base=16),
    family("minimax_m2", "moe", **HEAD, **LOCAL_EXPERTS),
    family(
        "minimax_m3_vl_text",
        "moe",
        **HEAD,
        **LOCAL_EXPERTS,
        rotary_dim=4,
        dense_intermediate_size=48,
        shared_intermediate_size=16,
    ),
    family("ministral", "mixed", **HEAD, **MIXED),
    family("ministral3", "window", **HEAD, sliding_window=WINDOW, rope_parameters=YARN | {"llama_4_scaling_beta": 0.5}),
    family("mistral", "window", **HEAD, sliding_window=WINDOW),
    family("mixtral", "window moe", **LOCAL_EXPERTS, sliding_window=WINDOW),
    family(
        "modernbert-decoder",
        "mixed",
        layer_types=SLIDING_FIRST,
        local_attention=2 * WINDOW,
        **NEVER,
    ),
    family("nanochat", "scaled"),
    family("nemotron", **HEAD),
    family("olmo", clip_qkv=1.5),
    family("olmo2"),
    family("olmo3", "mixed", sliding_window=WINDOW, layer_types=FULL_LAST),
    family("olmoe", "moe", num_experts=4, num_experts_per_tok=2),
    family("opt", "table", ffn_dim=48, word_embed_proj_dim=32, init_std=0.5),
    family(
        "opt-post-norm",
        "table no-skip",
        ffn_dim=48,
        word_embed_proj_dim=16,
        init_std=0.8,
        do_layer_norm_before=False,
    ),
    family("persimmon"),
    family("phi", "parallel"),
    family("phi3", "window", sliding_window=WINDOW),
    family("phimoe", "window moe", **LOCAL_EXPERTS, sliding_window=WINDOW),
    family("qwen2"),
    family("qwen2-window", "mixed", **MIXED, use_sliding_window=True),
    family("qwen2_moe", "moe", **EXPERTS, shared_expert_intermediate_size=16),
    family("qwen3", **HEAD),
    family("qwen3_moe", "moe", **HEAD, **EXPERTS),
    family("seed_oss", **HEAD),
    family("smollm3", "mixed", **MIXED, use_sliding_window=True, no_rope_layers=[1, 1, 0, 1]),
    family("solar_open", "moe", **HEAD, **ROUTED),
    family("stablelm"),
    family("stablelm-parallel", "parallel", use_parallel_residual=True, use_qkv_bias=True),
    family("starcoder2", "window", sliding_window=WINDOW),
    family("vaultgemma", "mixed softcap scaled", **HEAD, **MIXED, query_pre_attn_scalar=8),
    family("xglm", "table scaled", d_model=32, ffn_dim=48, num_layers=4, attention_heads=4, init_std=0.5),
    family("youtu", "latent", **LATENT, q_lora_rank=12, embedding_initializer_range=0.4),
)
"""What a generic backend should run."""

REFUSED = (
    family("bamba", "recurrent", **MAMBA, attn_layer_indices=[1, 3]),
    family("bloom", "alibi", n_layer=4, n_head=4),
    family("deepseek_v32", "indexed", **LATENT, **ROUTED, **DENSE_FIRST, q_lora_rank=12, index_topk=8),
    family("doge", "window-in-module", keep_window_size=WINDOW),
    family("falcon-alibi", "alibi", alibi=True, ffn_hidden_size=48),
    family("falcon_h1", "recurrent", **MAMBA, mamba_d_ssm=64),
    family("falcon_mamba", "recurrent", state_size=8),
    family(
        "gemma3n_text",
        "shared-keys",
        **HEAD,
        **MIXED,
        num_kv_shared_layers=2,
        intermediate_size=[48] * 4,
        hidden_size_per_layer_input=8,
        vocab_size_per_layer_input=VOCAB,
        laurel_rank=8,
        activation_sparsity_pattern=[0.0] * 4,
    ),
    family(
        "gemma4_text-shared",
        "shared-keys",
        **TWO_HEAD_SIZES | {"num_kv_shared_layers": 2},
        hidden_size_per_layer_input=8,
        vocab_size_per_layer_input=VOCAB,
    ),
    family(
        "gpt_neo",
        "window-in-module",
        num_layers=4,
        num_heads=4,
        window_size=WINDOW,
        attention_types=[[["global", "local"], 2]],
    ),
    family("gpt_neo-global", "mask-in-module", num_layers=4, num_heads=4, attention_types=[[["global"], 4]]),
    family("glm_moe_dsa", "indexed", **LATENT, **ROUTED, **DENSE_FIRST, q_lora_rank=12, index_topk=8),
    family("granitemoehybrid", "recurrent", **LOCAL_EXPERTS, **MAMBA, layer_types=LINEAR_FIRST),
    family("hrm_text", "looped", **HEAD, num_hidden_layers=12, num_layers_per_stack=2, H_cycles=2, L_cycles=2),
    family("jamba", "recurrent", attn_layer_period=2, attn_layer_offset=1, num_experts=2, mamba_dt_rank=4),
    family(
        "kimi_linear",
        "recurrent",
        **LATENT,
        **DENSE_FIRST,
        num_experts=4,
        num_experts_per_token=2,
        moe_intermediate_size=16,
        layer_types=LINEAR_FIRST,
    ),
    family("lfm2", "recurrent", layer_types=["conv", "full_attention"] * 2, block_multiple_of=8),
    family(
        "llama-dynamic",
        "rope-dynamic",
        **HEAD,
        rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0},
        max_position_embeddings=32,
    ),
    family("llama4_text", "chunked", **HEAD, **LOCAL_EXPERTS, attention_chunk_size=WINDOW, intermediate_size_mlp=48),
    family(
        "longcat_flash",
        "two-attentions",
        **LATENT,
        head_dim=4,
        q_lora_rank=12,
        num_layers=2,
        ffn_hidden_size=48,
        expert_ffn_hidden_size=16,
        n_routed_experts=4,
        zero_expert_num=2,
        moe_topk=2,
    ),
    family("mamba", "recurrent", state_size=8),
    family("mamba2", "recurrent", state_size=8, num_heads=8, head_dim=8, n_groups=1, chunk_size=16),
    family("minimax", "recurrent", **HEAD, **LOCAL_EXPERTS, layer_types=LINEAR_FIRST, block_size=8),
    family("mpt", "alibi", d_model=32, n_heads=4, n_layers=4, max_seq_len=256),
    family(
        "nemotron_h",
        "recurrent",
        **HEAD,
        layers_block_type=["linear_attention", "full_attention", "linear_attention", "mlp"],
        ssm_state_size=8,
        mamba_num_heads=8,
        mamba_head_dim=8,
        n_groups=2,
        chunk_size=16,
    ),
    family("olmo_hybrid", "recurrent", **DELTA),
    family("openai-gpt", "no-cache", n_embd=32, n_layer=4, n_head=4, n_positions=256),
    family(
        "phi3-longrope",
        "rope-longrope",
        original_max_position_embeddings=32,
        rope_parameters={
            "rope_type": "longrope",
            "rope_theta": 1e4,
            "short_factor": [1.0] * 4,
            "long_factor": [4.0] * 4,
        },
    ),
    family("qwen3_5_text", "recurrent", **HEAD, **DELTA),
    family("qwen3_next", "recurrent", **HEAD, **DELTA, **EXPERTS, shared_expert_intermediate_size=16),
    family("recurrent_gemma", "recurrent", **HEAD, lru_width=32, attention_window_size=WINDOW),
    family("rwkv", "recurrent", attention_hidden_size=32, context_length=256),
    family(
        "zaya",
        "recurrent",
        **HEAD,
        num_experts=4,
        num_experts_per_tok=1,
        moe_intermediate_size=16,
        router_hidden_size=16,
    ),
    family("zamba2", "recurrent", layers_block_type=["linear_attention", "hybrid"] * 2, hybrid_layer_ids=[1, 3]),
)
"""What a generic backend must refuse; `traits` says why."""

BY_NAME = {each.name: each for each in FAMILIES + REFUSED}


def tiny_config(name: str, **changes: Any) -> Any:
    """The library's config of a family here."""
    chosen = BY_NAME[name]
    return AutoConfig.for_model(chosen.model_type, **BASE | chosen.changes | changes)


def tiny_model(name: str, seed: int = 0, **changes: Any) -> Any:
    """The library's model in float32 and eval mode, with the attention the library chooses. No end-of-sequence id."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(tiny_config(name, **changes), dtype=torch.float32).eval()
    for path, values in model.state_dict().items():
        if not values.is_floating_point():
            continue
        if path.endswith("bias"):
            values.normal_(std=0.1)  # zero at initialisation, which would hide a bias left out
        elif "norm" in path or ".ln_" in path:
            values.uniform_(0.5, 1.5)
        elif bool((values == 0).all() | (values == 1).all()):
            values.add_(torch.rand_like(values) - 0.5)  # sinks, scales of a layer and routers, which would do nothing
    return model.requires_grad_(False)
