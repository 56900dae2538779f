"""LoRA adapters, merged into the weights of their base when it is loaded: nothing of them is left to be computed afterwards.

An adapter is a directory as peft writes it. Whatever would not be merged whole is refused in one line, for peft passes over weights that
no module asks for.
"""

from __future__ import annotations

import json
import logging
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch

from casspec.runtime.loading.checkpoints.quantised import keeps_quantised, quantisation_of, quiet_warnings
from casspec.storage.errors import UnknownModel, UnsupportedModel

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
PICKLE = "adapter_model.bin"

_log = logging.getLogger("casspec")

NEVER_MERGED = {
    "alora_invocation_tokens": "is switched on by tokens of the prompt",
    "arrow_config": "is chosen among others by what is read",
    "layer_replication": "repeats layers of its base",
    "megatron_config": "is spread over processes",
}
"""Settings of a LoRA with which it is no change of its base's weights: what is true of one."""

CHANGED_BASES = ("pissa", "corda", "olora", "loftq", "lora_ga")
"""Initialisations that take something out of the base's weights."""


class Adapter(NamedTuple):
    """A LoRA directory that can be read."""

    path: Path
    config: dict[str, Any]


def open_adapter(directory: str | Path) -> Adapter:
    """Looks at what a directory holds; reads no weight.

    Raises:
        UnknownModel: no adapter there; UnsupportedModel: one that cannot be merged, or the extra `adapters` is missing.
    """
    path = Path(directory).expanduser()
    if not (path / CONFIG).is_file():
        what = f"there is no {CONFIG} in '{directory}'" if path.is_dir() else f"there is no directory '{directory}'"
        raise UnknownModel(f"{what}; an adapter is a directory with {CONFIG} and {WEIGHTS}, as peft saves it")
    try:
        config = json.loads((path / CONFIG).read_text(encoding="utf-8"))
        kind = config["peft_type"]
    except (ValueError, KeyError, TypeError) as error:
        raise UnknownModel(
            f"'{path / CONFIG}' is damaged: it does not say what the adapter is; fetch it again"
        ) from error
    if kind != "LORA":
        raise UnsupportedModel(f"'{directory}' is an adapter of type {kind}; only LoRA can be merged into the weights")
    _refuse_what_is_no_change_of_weights(directory, config)
    if not (path / WEIGHTS).is_file():
        if (path / PICKLE).is_file():
            raise UnsupportedModel(
                f"'{directory}' holds its weights as {PICKLE}, a pickle that can run code; save the adapter as {WEIGHTS}"
            )
        raise UnknownModel(f"'{directory}' lacks {WEIGHTS}; fetch it again")
    if find_spec("peft") is None:
        raise UnsupportedModel(
            "merging an adapter takes peft, not installed here; run: pip install 'casspec[adapters]'"
        )
    return Adapter(path, config)


def merged(model: Any, adapter: Adapter, name: str) -> Any:
    """The library model with the adapter in its weights, which are changed in place.

    Args:
        name: of the model.

    Raises UnsupportedModel for a base that it was not made for, or whose weights are kept quantised.
    """
    if keeps_quantised(model):
        raise UnsupportedModel(
            f"the weights of '{name}' are kept quantised by {quantisation_of(model.config)}, and merging an adapter would round "
            "them again; use the model's plain weights"
        )
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        weights = load_file(adapter.path / WEIGHTS)
    except (SafetensorError, OSError) as error:
        raise UnknownModel(f"'{adapter.path / WEIGHTS}' is cut short or damaged; fetch it again") from error
    _say_other_base(adapter, name)
    with quiet_warnings():
        return _merged(model, adapter, weights, name)


def _merged(model: Any, adapter: Adapter, weights: dict[str, torch.Tensor], name: str) -> Any:
    from peft import LoraConfig, PeftModel, set_peft_model_state_dict

    refusal = f"adapter '{adapter.path}' was not made for '{name}'"
    try:
        with_adapter = PeftModel(model, LoraConfig.from_pretrained(str(adapter.path), local_files_only=True))
        report: Any = set_peft_model_state_dict(with_adapter, weights)
    except KeyError as error:
        raise UnsupportedModel(f"{refusal}: it lacks weights for {error}; its base is {_base(adapter)}") from error
    except (ValueError, RuntimeError, ImportError, TypeError, AttributeError, re.error) as error:
        raise UnsupportedModel(f"{refusal}: {_first_reason(error)}; its base is {_base(adapter)}") from error
    _refuse_part_of_tied(model, adapter)
    unused = list(report.unexpected_keys)
    lacking = [key for key in report.missing_keys if "lora_" in key or ".modules_to_save." in key]
    if unused or lacking:
        what = f"nothing in it takes {unused[0]}" if unused else f"the adapter says nothing of {lacking[0]}"
        raise UnsupportedModel(f"{refusal}: {what}; its base is {_base(adapter)}")
    try:
        return with_adapter.merge_and_unload(safe_merge=True)
    except (ValueError, NotImplementedError) as error:
        raise UnsupportedModel(f"adapter '{adapter.path}' cannot be merged: {_first_reason(error)}") from error


def _refuse_part_of_tied(model: Any, adapter: Adapter) -> None:
    """Embedding and head of one weight: peft merges what changes either of them into both, and what changes both twice."""
    from peft.tuners.lora import LoraLayer

    ends = model.get_input_embeddings(), model.get_output_embeddings()
    if any(isinstance(end, LoraLayer) for end in ends) and ends[0].weight is getattr(ends[1], "weight", None):
        raise UnsupportedModel(
            f"adapter '{adapter.path}' changes embedding or head of a model in which they are one weight (tie_word_embeddings), "
            "so it cannot be merged into it; merge it into an untied copy of the model"
        )


def _refuse_what_is_no_change_of_weights(directory: str | Path, config: dict[str, Any]) -> None:
    for setting, why in NEVER_MERGED.items():
        if config.get(setting):
            raise UnsupportedModel(
                f"'{directory}' is a LoRA that {why} ({setting}), so it cannot be merged into the weights"
            )
    begun = str(config.get("init_lora_weights")).lower()
    if begun.startswith(CHANGED_BASES):
        raise UnsupportedModel(
            f"'{directory}' is a LoRA of a base that its initialisation changed ({begun}); save it as an ordinary LoRA, "
            "with peft's path_initial_model_for_weight_conversion"
        )


def _say_other_base(adapter: Adapter, name: str) -> None:
    """By the last part of names: a model lies elsewhere on every machine."""
    named = adapter.config.get("base_model_name_or_path")
    if named and Path(str(named)).name != Path(name).name:
        _log.warning("adapter '%s' names '%s' as its base and is merged into '%s'", adapter.path, named, name)


def _base(adapter: Adapter) -> str:
    named = adapter.config.get("base_model_name_or_path")
    return f"'{named}'" if named else "another"


def _first_reason(error: Exception) -> str:
    """One line; of a list of tensors with other shapes the name of the first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return (
        lines[1 if len(lines) > 1 and lines[0].endswith(":") else 0].partition(": copying a param")[0][:200].rstrip(".")
    )
