"""Rotary tables (Su et al. 2021): cosines and sines by position, from the library's own frequencies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Rotary:
    """How each layer turns queries and keys.

    Attributes:
        tables: by kind of layer [context, width] float32, cosines before sines; `width` dimensions of a head are turned, its first ones.
        kinds: of each layer, its table.
    """

    tables: tuple[Tensor, ...]
    kinds: tuple[int, ...]

    @classmethod
    def of(cls, model: Any) -> Rotary:
        """Of a library model; where layers of one type turn otherwise than those of another, there are two tables."""
        config, rotary = model.config, model.model.rotary_emb
        context, device = config.max_position_embeddings, model.device
        if hasattr(rotary, "inv_freq"):
            table = _table(rotary.inv_freq, rotary.attention_scaling, context, device)
            return cls((table,), (0,) * config.num_hidden_layers)
        types = sorted(set(config.layer_types))
        tables = (
            _table(getattr(rotary, f"{name}_inv_freq"), getattr(rotary, f"{name}_attention_scaling"), context, device)
            for name in types
        )
        return cls(tuple(tables), tuple(types.index(name) for name in config.layer_types))

    @property
    def width(self) -> int:
        """Dimensions of a head that are turned."""
        return self.tables[0].shape[1]


def _table(frequencies: Tensor, scaling: float, context: int, device: torch.device) -> Tensor:
    places = torch.arange(context, device=device, dtype=torch.float32)
    angles = places[:, None] * frequencies.float().to(device)
    return torch.cat((angles.cos() * scaling, angles.sin() * scaling), -1)
