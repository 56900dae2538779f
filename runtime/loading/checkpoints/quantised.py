"""Checkpoints whose weights are quantised: which can be read here, and how. Anything else is refused in one line.

Some methods are unpacked at load, so that plain weights are left: those whose packed form runs on few devices only, or that the library
unpacks in the first forward anyway. All others keep linears of their own library.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from io import StringIO
from typing import Any

import torch

from casspec.storage.errors import UnsupportedModel


@dataclass(frozen=True)
class Method:
    """How weights are quantised.

    Attributes:
        packages: what reads them, as pip and as `import` name it.
        unpacked: whether plain weights are left after loading.
    """

    packages: tuple[tuple[str, str], ...]
    unpacked: bool = False


ACCELERATE = ("accelerate", "accelerate")
GPTQMODEL = ("gptqmodel", "gptqmodel")

METHODS = {
    "awq": Method((GPTQMODEL, ACCELERATE)),
    "bitsandbytes": Method((("bitsandbytes", "bitsandbytes"), ACCELERATE)),
    "compressed-tensors": Method((("compressed-tensors", "compressed_tensors"), ACCELERATE), unpacked=True),
    "fp8": Method((ACCELERATE,), unpacked=True),
    "gptq": Method((GPTQMODEL, ("optimum", "optimum"), ACCELERATE)),
    "mxfp4": Method((ACCELERATE,), unpacked=True),
    "mxfp8": Method((ACCELERATE,), unpacked=True),
    "torchao": Method((("torchao", "torchao"),)),
}
"""By `quant_method` of a config."""


OUTLIER = 6.0
"""The usual threshold of bitsandbytes."""


def quantisation_of(config: Any) -> str | None:
    """The method by which a config says its weights are quantised; None for plain ones."""
    entries = _entries(config)
    if entries is None:
        return None
    method = entries.get("quant_method")
    if method is None and (entries.get("load_in_4bit") or entries.get("load_in_8bit")):
        return "bitsandbytes"
    return str(getattr(method, "value", method or "a method it does not name"))


def prepared(config: Any, name: str) -> Any:
    """The config as it is to be read: its weights unpacked where the method asks for that.

    Args:
        name: of the model.

    Raises UnsupportedModel for a method that is not known here, or whose library is missing.
    """
    name_of_method = quantisation_of(config)
    if name_of_method is None:
        return config
    method = METHODS.get(name_of_method)
    if method is None:
        raise UnsupportedModel(
            f"the weights of '{name}' are quantised by '{name_of_method}', which is not supported; supported: "
            f"{', '.join(sorted(METHODS))}; use the model's plain weights"
        )
    missing = [pip for pip, module in method.packages if find_spec(module) is None]
    if missing:
        raise UnsupportedModel(
            f"the weights of '{name}' are quantised by {name_of_method}, which takes {' and '.join(missing)}, not installed here; "
            f"run: pip install {' '.join(missing)}"
        )
    if name_of_method == "bitsandbytes" and _mixes_rows(config):
        raise UnsupportedModel(
            f"the 8-bit linears of '{name}' round a token by which others are computed beside it (llm_int8_threshold), so no text that is "
            "drafted is sure to be the model's own; use its weights in 4 bits, by torchao, or with a threshold of 0"
        )
    if method.unpacked:
        config.quantization_config = (_entries(config) or {}) | {"dequantize": True}
    return config


def _mixes_rows(config: Any) -> bool:
    """Whether columns with an outlier in any row are computed in more bits for all of them (LLM.int8(), Dettmers et al. 2022)."""
    entries = _entries(config) or {}
    return bool(entries.get("load_in_8bit")) and float(entries.get("llm_int8_threshold", OUTLIER)) > 0


def settle_dtype(model: Any, dtype: torch.dtype | None) -> None:
    """Puts what a quantised checkpoint has of plain weights in one dtype, in place: the library leaves some in another.

    Args:
        dtype: None for the one that the config names.
    """
    wanted = dtype or model.config.dtype
    for parameter in model.parameters():
        if wanted is not None and type(parameter) is torch.nn.Parameter and parameter.is_floating_point():
            parameter.data = parameter.data.to(wanted)


def keeps_quantised(model: Any) -> bool:
    """Whether a loaded library model has linears of a quantising library."""
    method = METHODS.get(quantisation_of(model.config) or "")
    return method is not None and not method.unpacked


@contextmanager
def quiet_methods(config: Any) -> Iterator[None]:
    """Without what quantising libraries print: on stdout stands the text of a model, and nothing else."""
    if quantisation_of(config) is None:
        yield
        return
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # one line a forward, on the type it computes in
    with redirect_stdout(StringIO()):
        yield


@contextmanager
def quiet_warnings() -> Iterator[None]:
    """Without warnings: those of libraries are about kernels of devices that are not there, and about each other."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _entries(config: Any) -> dict[str, Any] | None:
    quantised = getattr(config, "quantization_config", None)
    if quantised is None:
        return None
    if not isinstance(quantised, dict):
        quantised = quantised.to_dict() if hasattr(quantised, "to_dict") else {}
    return dict(quantised)
