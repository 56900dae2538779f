"""Which model this is: what a profile pins and `profile_check.py` compares. Quick for any size.

The fingerprint describes content, not a place: the same weights in another directory are the same model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import Any

import torch

from casspec.runtime.loading.checkpoints.quantised import keeps_quantised
from casspec.runtime.model.target import TargetModel
from casspec.storage.schema import ModelFingerprint

VOLATILE_CONFIG = ("_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version", "use_cache")
"""Config entries that say how a model was loaded or saved, not what it computes."""

FOUND = "_casspec_weights_sha256"
"""Attribute of a quantised library model that was looked at."""

VALUES_PER_TENSOR = 32
SAMPLED_TOKENS = 512
EXACT = (torch.int8, torch.uint8, torch.bool)
"""Whole numbers that bfloat16 holds exactly; of wider ones the bytes are sampled."""

PROBE_TEXT = "def f(x):\n\treturn {'naïve': x ** 2, \"日本\": None}  # 3.14"


def model_fingerprint(target: TargetModel, weights: str | None = None) -> ModelFingerprint:
    """Identity of the loaded weights, config and tokenizer, in a fraction of a second for any size.

    Sampled weights are hashed as bfloat16, so that a checkpoint has one identity whether it is loaded in float32 or
    bfloat16; the dtype of a calibration is stored beside it.

    Args:
        weights: `weights_sha256` of its library model, where that was taken before its weights were let go.
    """
    if target.fingerprint is not None:
        return target.fingerprint
    return ModelFingerprint(
        name=target.name,
        family=target.family,
        config_sha256=config_sha256(target.config),
        weights_sha256=weights or weights_sha256(target.library_model),
        tokenizer_sha256=None if target.tokenizer is None else tokenizer_sha256(target.tokenizer),
        parameters=target.parameter_count,
        n_layers=target.n_layers,
        hidden_size=target.hidden_size,
        vocab_size=target.vocab_size,
        max_context=target.max_context,
    )


def config_sha256(config: Any) -> str:
    """Of what a config says about what a model computes."""
    return _sha256_of_json({key: value for key, value in config.to_dict().items() if key not in VOLATILE_CONFIG})


@torch.no_grad()
def weights_sha256(model: Any) -> str:
    """Of a few values of every parameter of a library model, and of whatever else quantised linears keep.

    Of a quantised model it is found once: bitsandbytes turns weights about in a forward, and rounds scales when it turns them back.
    """
    if not keeps_quantised(model):
        return sampled_sha256(_weights(model))
    if not hasattr(model, FOUND):
        setattr(model, FOUND, sampled_sha256(_weights(model)))
    found: str = getattr(model, FOUND)
    return found


def sampled_sha256(weights: Iterable[tuple[str, torch.Tensor]]) -> str:
    """`weights_sha256` of a model with these weights, by name in the model's order."""
    names, samples = [], []
    for name, tensor in weights:
        names.append([name, list(tensor.shape)])
        values = tensor.reshape(-1)
        if not (values.is_floating_point() or values.dtype in EXACT):
            values = values.contiguous().view(torch.uint8)
        samples.append(values[:: max(1, len(values) // VALUES_PER_TENSOR)][:VALUES_PER_TENSOR].to(torch.bfloat16))
    raw = torch.cat(samples).view(torch.int16).cpu().numpy().tobytes()
    return hashlib.sha256(json.dumps(names).encode() + raw).hexdigest()


def _weights(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Plain tensors by name. Of a quantised model also those that its linears keep beside their parameters."""
    seen = set()
    for name, parameter in model.named_parameters():
        seen.add(name)
        yield from _plain_tensors(name, parameter)
    if not keeps_quantised(model):
        return
    tied = set(getattr(model, "all_tied_weights_keys", None) or ())
    for name, tensor in model.state_dict().items():
        if name not in seen and name not in tied and isinstance(tensor, torch.Tensor):
            yield from _plain_tensors(name, tensor)


def _plain_tensors(name: str, tensor: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    """Itself, or what a subclass is made of: its values, scales and zero points."""
    if not hasattr(tensor, "__tensor_flatten__"):
        yield name, tensor
        return
    parts, _ = tensor.__tensor_flatten__()
    for part in parts:
        yield from _plain_tensors(f"{name}.{part}", getattr(tensor, part))


def tokenizer_sha256(tokenizer: Any) -> str:
    """Of a sample of its tokens, the special ones, and a text it encodes."""
    size = len(tokenizer)
    sampled = list(range(0, size, max(1, size // SAMPLED_TOKENS)))
    return _sha256_of_json(
        {
            "size": size,
            "tokens": tokenizer.convert_ids_to_tokens(sampled),
            "special": sorted(tokenizer.all_special_tokens),
            "probe": tokenizer.encode(PROBE_TEXT),
        }
    )


def _sha256_of_json(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
