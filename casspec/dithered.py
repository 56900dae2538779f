"""A model off its 4-bit grid: the same weights, each moved by at most half a step of the grid it was rounded to.

Weights that were stored in 4 bits, 32 inputs a group, are exact in a 4-bit plan with the same groups: such a plan agrees with its
target as no plan of a trained model does. Moved by step * U(-1/2, 1/2) a weight is anywhere in the interval that rounding would have
brought to where it was. It is as far from the grid as before it was first rounded.

The step of a group is (largest - smallest) / 15, which is how Q4_1 made it: the first and the last of its 16 levels are the group's
extremes. It is taken from the weights and not from the file's blocks: the extremes are the trained weights themselves, while the file
has their step in float16, and neither the file nor its order of rows is needed.
"""

from __future__ import annotations

import re
import shutil
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

GROUP_INPUTS = 32
"""Inputs that share a step in Q4_1."""

LEVELS = 16
WEIGHTS_FILE = "model.safetensors"
LAYER_LINEAR = re.compile(r"model\.layers\.\d+\.(self_attn|mlp)\.\w+_proj\.weight")


def dithered(name: str, weight: Tensor) -> Tensor:
    """A linear [out, in], in a multiple of 32, moved off its grid, in its own dtype.

    `name` is the seed: the same name and weight give the same on every machine.
    """
    import torch

    groups = weight.float().unflatten(1, (-1, GROUP_INPUTS))
    low, high = groups.aminmax(dim=2, keepdim=True)
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    move = torch.rand(weight.shape, generator=generator).view_as(groups) - 0.5
    return (groups + (high - low) / (LEVELS - 1) * move).flatten(1).to(weight.dtype)


def write_dithered(source: Path, directory: Path) -> None:
    """Writes the model of directory `source` with every linear of its layers moved; embedding, norms and all else are the same."""
    from safetensors.torch import load_file, save_file

    for file in source.iterdir():
        if file.name != WEIGHTS_FILE:
            shutil.copyfile(file, directory / file.name)
    weights = load_file(source / WEIGHTS_FILE)
    moved = {
        name: dithered(name, weight) if LAYER_LINEAR.fullmatch(name) else weight for name, weight in weights.items()
    }
    save_file(moved, directory / WEIGHTS_FILE, metadata={"format": "pt"})
