"""What a model's own generation config asks of every text, as options of a request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from casspec.runtime.model.target import TargetModel

SAMPLED = ("temperature", "top_k", "top_p", "min_p", "typical_p")
"""Taken where the config samples."""

ALWAYS = ("repetition_penalty", "min_new_tokens", "max_new_tokens", "suppress_tokens")

LEFT_OUT = (
    "max_length",
    "max_time",
    "min_length",
    "encoder_repetition_penalty",
    "encoder_no_repeat_ngram_size",
    "begin_suppress_tokens",
    "epsilon_cutoff",
    "eta_cutoff",
    "top_h",
    "sequence_bias",
    "exponential_decay_length_penalty",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "guidance_scale",
    "watermarking_config",
    "penalty_alpha",
    "dola_layers",
)
"""Settings that would shape a text and are not taken; whoever reads the config is told."""


@dataclass(frozen=True)
class ModelDefaults:
    """Options by name, and settings of the config that are not taken."""

    options: dict[str, Any] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()


def model_defaults(target: TargetModel) -> ModelDefaults:
    """What the file says; nothing it is silent about."""
    config = target.generation_config
    if config is None:
        return ModelDefaults()
    told = {name: value for name, value in config.to_dict().items() if value is not None and not name.startswith("_")}
    samples = bool(told.get("do_sample"))
    options: dict[str, Any] = {"temperature": float(told.get("temperature", 1.0)) if samples else 0.0}
    for name in (*(SAMPLED if samples else ()), *ALWAYS):
        if name in told and name != "temperature":
            options[name] = told[name]
    if options.get("top_k") == 0:
        del options["top_k"]  # how the library writes "all of them"
    for name, translate in _TRANSLATED.items():
        if told.get(name):
            options |= translate(told[name], target)
    return ModelDefaults(options, tuple(name for name in LEFT_OUT if told.get(name)))


def with_defaults(target: TargetModel, options: dict[str, Any]) -> dict[str, Any]:
    """Options of a request, those that are None from the model's generation config where it names them."""
    given = {name: value for name, value in options.items() if value is not None}
    return options | model_defaults(target).options | given


def _bad_words(value: Any, target: TargetModel) -> dict[str, Any]:
    """As the library has it, an end token alone is no bad word."""
    ends = {(token,) for token in target.eos_token_ids}
    return {"bad_words": tuple(tuple(word) for word in value if tuple(word) not in ends)}


def _no_repeated_runs(value: Any, target: TargetModel) -> dict[str, Any]:
    from transformers.generation import NoRepeatNGramLogitsProcessor

    return {"processors": (NoRepeatNGramLogitsProcessor(int(value)),)}


def _stops(value: Any, target: TargetModel) -> dict[str, Any]:
    return {"stop": (value,) if isinstance(value, str) else tuple(value)}


_TRANSLATED: dict[str, Callable[[Any, TargetModel], dict[str, Any]]] = {
    "bad_words_ids": _bad_words,
    "no_repeat_ngram_size": _no_repeated_runs,
    "stop_strings": _stops,
}
