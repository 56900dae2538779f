"""Text parts of multimodal checkpoints give the logits of the whole model, and nothing else of it is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from casspec.runtime.decode import Decoder
from casspec.runtime.loading.checkpoints.text_part import TESTED, text_part
from casspec.runtime.loading.models import load_model
from casspec.storage.errors import UnsupportedModel
from tests.runtime.tiny import VOCAB, library_model

TEXT: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "initializer_range": 0.2,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": 0,
}
SIZES = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
VISION = SIZES | {"image_size": 28, "patch_size": 14}
QWEN_VISION = {"depth": 1, "num_heads": 2, "patch_size": 14}
MROPE = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}}
INTERLEAVED = {
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 1e4,
        "mrope_section": [2, 1, 1],
        "mrope_interleaved": True,
    }
}
AUDIO = {"d_model": 16, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 16, "num_mel_bins": 8}

WHOLE: dict[str, tuple[str, dict[str, Any], dict[str, Any], str]] = {
    "gemma3": ("Gemma3", {"sliding_window": 8, "query_pre_attn_scalar": 8}, VISION, "gemma3_text"),
    "gemma4": (
        "Gemma4",
        {
            "num_hidden_layers": 6,
            "sliding_window": 8,
            "global_head_dim": 8,
            "num_kv_shared_layers": 0,
            "hidden_size_per_layer_input": 0,
            "final_logit_softcapping": 2.0,
        },
        VISION | {"head_dim": 8, "num_key_value_heads": 2},
        "gemma4_text",
    ),
    "idefics3": ("Idefics3", {"model_type": "llama"}, VISION, "llama"),
    "internvl": (
        "InternVL",
        {"model_type": "qwen2"},
        VISION | {"image_size": [28, 28], "patch_size": [14, 14]},
        "qwen2",
    ),
    "llava": ("Llava", {"model_type": "llama"}, VISION | {"model_type": "clip_vision_model"}, "llama"),
    "llava_next": ("LlavaNext", {"model_type": "mistral"}, VISION | {"model_type": "clip_vision_model"}, "mistral"),
    "mistral3": ("Mistral3", {"model_type": "ministral3"}, VISION | {"model_type": "pixtral"}, "ministral3"),
    "qwen2_5_vl": (
        "Qwen2_5_VL",
        MROPE,
        QWEN_VISION | {"hidden_size": 16, "out_hidden_size": 32, "intermediate_size": 24},
        "qwen2",
    ),
    "qwen2_audio": ("Qwen2Audio", {"model_type": "qwen2"}, AUDIO, "qwen2"),
    "qwen2_vl": ("Qwen2VL", MROPE, QWEN_VISION | {"embed_dim": 16, "hidden_size": 32}, "qwen2"),
    "qwen3_vl": (
        "Qwen3VL",
        INTERLEAVED,
        QWEN_VISION
        | {"hidden_size": 16, "out_hidden_size": 32, "intermediate_size": 24, "deepstack_visual_indexes": [0]},
        "qwen3",
    ),
    "smolvlm": ("SmolVLM", {"model_type": "llama"}, VISION, "llama"),
    "voxtral": ("Voxtral", {"model_type": "llama"}, SIZES | {"intermediate_size": 64, "num_mel_bins": 8}, "llama"),
}
"""By model type: what the library's classes begin with, of the text part what is not TEXT, the other part, the text part's family."""


def whole_config(family: str, **text: Any) -> Any:
    prefix, own, other, _ = WHOLE[family]
    other_name = "audio_config" if family in ("qwen2_audio", "voxtral") else "vision_config"
    further = {"audio_config": None} if family == "gemma4" else {}
    config = getattr(transformers, f"{prefix}Config")
    return config(text_config=TEXT | own | text, **{other_name: other}, **further)


def whole_model(family: str, **text: Any) -> Any:
    """A random one, with norms and biases that show when one is left out."""
    torch.manual_seed(0)
    model = getattr(transformers, f"{WHOLE[family][0]}ForConditionalGeneration")
    model = model._from_config(whole_config(family, **text), dtype=torch.float32).eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.normal_(std=0.5)
        elif "norm" in name:
            parameter.uniform_(0.5, 1.5)
    return model


def read(directory: Path) -> tuple[Any, Any]:
    """The text part alone, and what the library says of its loading."""
    part = text_part(transformers.AutoConfig.from_pretrained(directory))
    return transformers.AutoModelForCausalLM.from_pretrained(
        directory, config=part.config, output_loading_info=True, **part.reading
    )


def test_every_listed_family_is_tested() -> None:
    assert set(TESTED) == WHOLE.keys()


@pytest.mark.parametrize("family", TESTED)
def test_text_alone_has_the_logits_of_the_whole_model(family: str, tmp_path: Path) -> None:
    whole = whole_model(family)
    whole.save_pretrained(tmp_path)
    model, report = read(tmp_path)
    assert not report["missing_keys"]
    assert report["unexpected_keys"]  # of the other part, never read
    assert model.config.model_type == WHOLE[family][3]
    ids = torch.randint(VOCAB, (1, 24), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(model(input_ids=ids).logits, whole(input_ids=ids).logits)


@pytest.mark.parametrize("family", ["gemma3", "llava", "mistral3", "qwen2_vl"])
def test_the_text_part_decodes_as_the_whole_model_does(family: str, tmp_path: Path) -> None:
    whole = whole_model(family)
    whole.save_pretrained(tmp_path)
    target = load_model(tmp_path)
    prompt = torch.randint(VOCAB, (1, 24), generator=torch.Generator().manual_seed(1))
    expected = whole.generate(input_ids=prompt, max_new_tokens=12, do_sample=False)[0, 24:].tolist()
    assert (
        Decoder(target, None, "prompt-lookup").generate(prompt[0].tolist(), 12, temperature=0.0).token_ids == expected
    )


def test_what_the_text_part_does_to_its_logits_and_the_whole_does_not_is_refused() -> None:
    with pytest.raises(UnsupportedModel, match="whose final_logit_softcapping it does not apply"):
        text_part(whole_config("gemma3", final_logit_softcapping=2.0))


def test_a_family_whose_text_part_is_not_tested_is_refused_by_name() -> None:
    config = transformers.AyaVisionConfig(text_config=TEXT | {"model_type": "cohere2"}, vision_config=SIZES)
    with pytest.raises(UnsupportedModel, match="'aya_vision' is multimodal"):
        text_part(config)


def test_a_language_model_is_read_as_it_is() -> None:
    config = library_model().config
    assert text_part(config) == (config, {})


def test_modules_that_were_not_quantised_go_by_their_names_in_the_text_part() -> None:
    config = whole_config("llava")
    config.quantization_config = {
        "quant_method": "awq",
        "modules_to_not_convert": ["language_model.lm_head", "model.language_model.layers.0.mlp", "vision_tower"],
    }
    kept = text_part(config).config.quantization_config["modules_to_not_convert"]
    assert kept == ["lm_head", "model.layers.0.mlp", "vision_tower"]
