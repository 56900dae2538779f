"""A wider model of the reference's function: the latencies of a big model without its download.

Only the residual stream gets wider, and what is added stays silent. Writing d for the reference's width, D for the new one:

* Residual stream: [x, 0]. The embedding is padded with zeros, and no linear writes into the padding.
* RMS norms: the mean square over D is d/D of the one over d, so that epsilon is scaled by d/D and the weights by
  sqrt(d/D). That factor is no power of two in general, hence the weights stay in float32 in the checkpoint.
* Linears: the real weights are the upper left block. Right of it, columns multiply zeros and are random. Below it, rows
  are zero: values of added heads, gates and ups of added MLP neurons, outputs into the padding. The lower right block is
  random again. Queries and keys of added heads are random throughout: their values are zero anyway.

Random weights have the standard deviation of the real ones, so that quantisation scales are those of a real model, and
kernels have the arithmetic of one. The head size is kept.
"""

from __future__ import annotations

import json
import logging
import math
import re
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from casspec.reference import REFERENCE_SHA256, WEIGHTS_FILE, check_reference, reference_path
from casspec.storage.errors import StorageError, UnknownModel
from casspec.storage.folders import user_cache_directory
from casspec.whole import whole

if TYPE_CHECKING:
    from torch import Tensor

PREFIX = "testbed:"
RECIPE = 1
"""Raised when the same width gives other weights, so that a cached testbed is not taken for one of today's."""

RECORD_FILE = "testbed.json"
"""Stands in every testbed's directory: nothing else is ever replaced."""
COPIED_FILES = ("generation_config.json", "tokenizer.json", "tokenizer_config.json")

HIDDEN_OF_7B, INTERMEDIATE_OF_7B = 4096, 11008
"""Llama 7B (Touvron 2023), whose MLP is a little narrower than the reference's in proportion."""

SHARD_BYTES = 1 << 30

log = logging.getLogger("casspec")


def is_testbed(name: str | Path) -> bool:
    """Whether a model is named like a testbed, `testbed:N`."""
    return str(name).startswith(PREFIX)


def testbed_hidden(name: str) -> int:
    """N of `testbed:N`. Raises UnknownModel when that is no width a testbed can have."""
    text = name.removeprefix(PREFIX)
    if not re.fullmatch(r"[0-9]{1,6}", text):
        raise UnknownModel(
            f"'{name}' is no testbed; expected {PREFIX}N with N the hidden size, for instance testbed:1536"
        )
    return int(text)


def testbed_path(hidden: int) -> Path:
    """Where the testbed of this width is cached, whether it has been made or not."""
    return user_cache_directory() / f"testbed-{hidden}-{REFERENCE_SHA256[:8]}-{RECIPE}"


def cached_testbed(hidden: int) -> Path:
    """The directory of the testbed, made first when it is missing, which is logged. Errors as of `widen`."""
    path = testbed_path(hidden)
    if not path.is_dir():
        gigabytes = checkpoint_bytes(wide_config(hidden)) / 1e9
        log.warning("making %s%d once, %.1f GB in %s", PREFIX, hidden, gigabytes, path)
        widen(hidden, path)
    return path


def widen(hidden: int, directory: Path, force: bool = False) -> None:
    """Writes a checkpoint `hidden` wide that computes the reference's logits, up to rounding.

    It appears at once and complete, or not at all.

    Args:
        hidden: a multiple of the reference's head size above its hidden size.
        directory: must not exist or be empty, unless `force` is given and it holds a testbed, which is replaced.

    Raises:
        UnknownModel: no such width; StorageError: no room or no permission, or `directory` holds something else.
    """
    check_reference()
    config = wide_config(hidden)
    _check_replaceable(directory, force)
    with whole(directory, "the testbed", checkpoint_bytes(config), replace=force) as partial:
        _write(config, partial)


# --------------------------------------------------------------------------------------------------- config and weights


def wide_config(hidden: int) -> dict[str, Any]:
    """The reference's config at another width. Raises UnknownModel for a width that cannot be."""
    config: dict[str, Any] = json.loads((reference_path() / "config.json").read_text("utf-8"))
    narrow, head = config["hidden_size"], config["head_dim"]
    if hidden <= narrow or hidden % head:
        raise UnknownModel(f"no testbed is {hidden} wide: expected a multiple of {head} above {narrow}")
    intermediate = INTERMEDIATE_OF_7B if hidden == HIDDEN_OF_7B else config["intermediate_size"] * hidden // narrow
    return config | {
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_attention_heads": hidden // head,
        "num_key_value_heads": hidden // head,
        "rms_norm_eps": config["rms_norm_eps"] * narrow / hidden,
    }


def checkpoint_bytes(config: dict[str, Any]) -> int:
    """Size of the weights on disk, norms as if they were bfloat16 too (they are less than a thousandth)."""
    return 2 * sum(math.prod(shape) for shape in wide_shapes(config).values())


def wide_shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Shape of every weight, by its name in a checkpoint with tied embeddings."""
    hidden, intermediate = config["hidden_size"], config["intermediate_size"]
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (config["vocab_size"], hidden)}
    for index in range(config["num_hidden_layers"]):
        layer = f"model.layers.{index}"
        for norm in ("input_layernorm", "post_attention_layernorm"):
            shapes[f"{layer}.{norm}.weight"] = (hidden,)
        for projection in ("q_proj", "k_proj", "v_proj", "o_proj"):
            shapes[f"{layer}.self_attn.{projection}.weight"] = (hidden, hidden)
        for projection in ("gate_proj", "up_proj"):
            shapes[f"{layer}.mlp.{projection}.weight"] = (intermediate, hidden)
        shapes[f"{layer}.mlp.down_proj.weight"] = (hidden, intermediate)
    return shapes | {"model.norm.weight": (hidden,)}


def widened(name: str, weight: Tensor, shape: tuple[int, ...], device: str = "cpu") -> Tensor:
    """A weight of the reference at its wide shape: [out, in] in its own dtype, a norm's [hidden] in float32.

    Args:
        device: where random weights are drawn and the result lies. Another kind of device draws others; what they compute is the same.
    """
    import torch

    real = weight.to(device).float()
    if name.endswith("embed_tokens.weight"):
        wide = torch.zeros(shape, device=device)
    else:
        generator = torch.Generator(device).manual_seed(zlib.crc32(name.encode()))
        wide = torch.empty(shape, device=device).normal_(0.0, float(real.std()), generator=generator)
    if real.dim() == 1:
        wide += real.mean()
        wide[: len(real)] = real
        return wide * math.sqrt(len(real) / len(wide))
    rows, columns = real.shape
    wide[:rows, :columns] = real
    if "q_proj" not in name and "k_proj" not in name:
        wide[rows:, :columns] = 0
    return wide.to(weight.dtype)


# ---------------------------------------------------------------------------------------------------------------- files


def _write(config: dict[str, Any], directory: Path) -> None:
    """Every file of the testbed, a shard of weights in memory at a time."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    shapes = wide_shapes(config)
    shards = list(_shards(shapes))
    files = [f"model-{place:05}-of-{len(shards):05}.safetensors" for place in range(1, len(shards) + 1)]
    if len(shards) == 1:
        files = [WEIGHTS_FILE]
    with safe_open(reference_path() / WEIGHTS_FILE, framework="pt") as reference:
        for file, names in zip(files, shards, strict=True):
            weights = {name: widened(name, reference.get_tensor(name), shapes[name]) for name in names}
            save_file(weights, directory / file, metadata={"format": "pt"})
    if len(shards) > 1:
        place_of = {name: file for file, names in zip(files, shards, strict=True) for name in names}
        index = {"metadata": {"total_size": checkpoint_bytes(config)}, "weight_map": place_of}
        _write_json(directory / f"{WEIGHTS_FILE}.index.json", index)
    for file in COPIED_FILES:
        shutil.copyfile(reference_path() / file, directory / file)
    _write_json(directory / "config.json", config)
    record = {"hidden": config["hidden_size"], "reference_sha256": REFERENCE_SHA256, "recipe": RECIPE}
    _write_json(directory / RECORD_FILE, record)


def _shards(shapes: dict[str, tuple[int, ...]]) -> Iterator[list[str]]:
    """Names of the weights that share a file: as many in a row as fit into SHARD_BYTES, one at least."""
    names: list[str] = []
    size = 0
    for name, shape in shapes.items():
        n_bytes = 2 * math.prod(shape)
        if names and size + n_bytes > SHARD_BYTES:
            yield names
            names, size = [], 0
        names.append(name)
        size += n_bytes
    yield names


def _write_json(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _check_replaceable(directory: Path, force: bool) -> None:
    """Raises StorageError where something stands that must not or cannot be replaced."""
    if not directory.exists() or (directory.is_dir() and not any(directory.iterdir())):
        return
    if not (directory / RECORD_FILE).is_file():
        raise StorageError(f"{directory} holds something else than a testbed; name another directory")
    if not force:
        raise StorageError(f"{directory} holds a testbed already; use it, or make it again with --force")
