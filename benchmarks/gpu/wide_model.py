"""The testbed made where it runs: random numbers come from the device, and no file is written.

More layers than the reference has do nothing: their values and ups are zero wherever they meet something, so that what they add to the
residual stream is zero. They read as many bytes as any other. A search would find that they can be left out for free, hence no profile
is to be made of such a model.
"""

from __future__ import annotations

from typing import Any

import torch
from safetensors import safe_open

from casspec.reference import WEIGHTS_FILE, check_reference, reference_path
from casspec.runtime.loading.fingerprint import model_fingerprint, weights_sha256
from casspec.runtime.loading.models import quiet_library
from casspec.runtime.model.row_check import rows_are_independent
from casspec.runtime.model.target import TargetModel
from casspec.storage.errors import UnsupportedOption
from casspec.testbed import PREFIX, checkpoint_bytes, wide_config, wide_shapes, widened

DTYPE = torch.bfloat16
SILENT = ("v_proj", "up_proj")
"""Linears of an added layer that are zero where their input is not."""


def config_of(hidden: int, layers: int | None) -> dict[str, Any]:
    """Of a testbed `hidden` wide. Raises UnknownModel for a width, UnsupportedOption for a depth that cannot be."""
    config = wide_config(hidden)
    own = config["num_hidden_layers"]
    if layers is not None and layers < own:
        raise UnsupportedOption(
            f"--layers {layers}: a testbed has {own} layers, or more that do nothing; expected {own} at least"
        )
    return config | {"num_hidden_layers": layers or own}


def added_layers(config: dict[str, Any]) -> int:
    """How many layers do nothing."""
    return int(config["num_hidden_layers"] - wide_config(config["hidden_size"])["num_hidden_layers"])


def wide_model(config: dict[str, Any], device: str) -> TargetModel:
    """A testbed of this config in bfloat16. Raises UnsupportedOption where the device has no room."""
    check_reference()
    _check_room(config, device)
    model, tokenizer = _empty(config, device)
    _fill(model, config, device)
    weights = weights_sha256(model)
    target = TargetModel(model, tokenizer, name=f"{PREFIX}{config['hidden_size']}", pack=True, owned=True)
    target.fingerprint = model_fingerprint(target, weights)
    rows_are_independent(target)
    return target


def _empty(config: dict[str, Any], device: str) -> tuple[Any, Any]:
    """The library's model with any weights, and the tokenizer."""
    with quiet_library():
        from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

        with torch.device(device):
            model: Any = LlamaForCausalLM._from_config(LlamaConfig.from_dict(config), dtype=DTYPE)
        return model.eval().requires_grad_(False), AutoTokenizer.from_pretrained(reference_path())


def _check_room(config: dict[str, Any], device: str) -> None:
    if torch.device(device).type != "cuda":
        return
    free, needed = torch.cuda.mem_get_info(device)[0], checkpoint_bytes(config)
    if needed > 0.9 * free:
        raise UnsupportedOption(
            f"the model takes {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB of the device are free; use a smaller --width or fewer --layers"
        )


@torch.no_grad()
def _fill(model: Any, config: dict[str, Any], device: str) -> None:
    own = config["num_hidden_layers"] - added_layers(config)
    with safe_open(reference_path() / WEIGHTS_FILE, framework="pt") as reference:
        for name, shape in wide_shapes(config).items():
            source, is_added = _source(name, own)
            real = reference.get_tensor(source)
            wide = widened(name, real, shape, device)
            if is_added and any(linear in name for linear in SILENT):
                wide[:, : real.shape[1]] = 0
            model.get_parameter(name).copy_(wide)


def _source(name: str, n_layers: int) -> tuple[str, bool]:
    """The weight of the reference that one is like, and whether its layer was added."""
    parts = name.split(".")
    if parts[1] != "layers":
        return name, False
    layer = int(parts[2])
    return ".".join([*parts[:2], str(layer % n_layers), *parts[3:]]), layer >= n_layers
