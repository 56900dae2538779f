"""The text part of a multimodal checkpoint, as a language model of its own. Weights of its other parts are never read.

A family is listed when a test shows that its text part alone gives the logits of the whole model on a prompt of text.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from casspec.storage.errors import UnsupportedModel

TESTED = (
    "gemma3",
    "gemma4",
    "idefics3",
    "internvl",
    "llava",
    "llava_next",
    "mistral3",
    "qwen2_5_vl",
    "qwen2_audio",
    "qwen2_vl",
    "qwen3_vl",
    "smolvlm",
    "voxtral",
)
"""Model types of whole models."""

PLAIN_TYPES = {"qwen2_vl_text": "qwen2", "qwen2_5_vl_text": "qwen2", "qwen3_vl_text": "qwen3"}
"""Text parts that no language model of the library is made for, and the family they equal on text.

Their rotary angles come from three positions a token, which are the same number where nothing is an image.
"""

HEAD_FIELDS = ("logit_scale", "logits_scaling", "final_logit_softcapping")
"""What a language model does to its logits, and a whole model around it often does not."""

OWN_HEAD = ("gemma4",)
"""Whole models that do the same to them."""

KEY_MAPPING = {
    r"^(?:model\.)?language_model\.model\.": "model.",
    r"^(?:model\.)?language_model\.lm_head\.": "lm_head.",
    r"^model\.(?:language_model|text_model)\.": "model.",
}
"""From names of weights in a whole model's file, as any release of the library wrote it, to names of the text part."""

NAME_LISTS = ("ignore", "modules_to_not_convert", "llm_int8_skip_modules")
"""Entries of a quantisation config that list modules by name."""


class TextPart(NamedTuple):
    """How a checkpoint is read as a language model."""

    config: Any
    reading: dict[str, Any]
    """Further arguments of `from_pretrained`."""


def text_part(config: Any) -> TextPart:
    """Of a Hugging Face config; of a language model itself and nothing further.

    Raises UnsupportedModel by name where the text part is no language model by itself, or that is not known.
    """
    text = getattr(config, "text_config", None)
    if text is None:
        return TextPart(config, {})
    whole = config.model_type
    if whole not in TESTED:
        raise UnsupportedModel(
            f"model family '{whole}' is multimodal, and its text part is not supported; those that are: {', '.join(TESTED)}"
        )
    changed = [name for name in HEAD_FIELDS if getattr(text, name, None) not in (None, 1.0)]
    if changed and whole not in OWN_HEAD:
        raise UnsupportedModel(
            f"this {whole} has a text part of family '{text.model_type}', whose {changed[0]} it does not apply; use a text model"
        )
    text = _plain(text)
    for name in ("tie_word_embeddings", "dtype"):
        if getattr(config, name, None) is not None:
            setattr(text, name, getattr(config, name))
    quantised = getattr(config, "quantization_config", None)
    if quantised is not None:
        text.quantization_config = _renamed(quantised)
    return TextPart(text, {"key_mapping": KEY_MAPPING})


def _plain(text: Any) -> Any:
    """The config of the family that a text part equals."""
    from transformers import AutoConfig

    family = PLAIN_TYPES.get(text.model_type)
    if family is None:
        return text
    entries = {name: value for name, value in text.to_dict().items() if name != "model_type"}
    rope = entries.get("rope_parameters") or {}
    kept = {name: value for name, value in rope.items() if name != "type" and not name.startswith("mrope")}
    return AutoConfig.for_model(family, **entries | {"rope_parameters": kept})


def _renamed(quantised: Any) -> dict[str, Any]:
    """A quantisation config whose lists name modules of the text part; patterns stay as they are."""
    entries = dict(quantised if isinstance(quantised, dict) else quantised.to_dict())
    for key in NAME_LISTS:
        if entries.get(key):
            entries[key] = [_renamed_module(name) for name in entries[key]]
    return entries


def _renamed_module(name: str) -> str:
    for pattern, replacement in KEY_MAPPING.items():
        name = re.sub(pattern, replacement, f"{name}.").removesuffix(".")
    return name
