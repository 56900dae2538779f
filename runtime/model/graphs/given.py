"""Static memory of inputs that somebody made as tensors, as measurements of latency do."""

from __future__ import annotations

import torch
from torch import Tensor

from casspec.runtime.model.forward_input import ForwardInput


class Given:
    """Where a captured forward over such inputs reads them.

    Args:
        batch, queries: of the inputs. masks: 1 for a mask that sequences share, else `batch`. length: attended, at least theirs.

    Attributes:
        inputs: what a forward is given.
    """

    def __init__(
        self, batch: int, queries: int, masks: int, length: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        with torch.inference_mode(False):
            numbers = torch.zeros(3, batch * queries, dtype=torch.int64, device=device)
            mask = torch.zeros(masks, 1, queries, length, dtype=dtype, device=device)
        token_ids, positions, rows = numbers.unbind()
        self.inputs = ForwardInput(token_ids.view(batch, queries), positions.view(batch, queries), rows, mask, length)
        self.memory = numbers, mask
        self._wanted: dict[int, Tensor] = {}

    def write(self, inputs: ForwardInput) -> None:
        """Copies inputs, on the device; what the mask has more to see is hidden."""
        own = self.inputs
        own.token_ids.copy_(inputs.token_ids)
        own.positions.copy_(inputs.positions)
        own.rows.copy_(inputs.rows)
        own.mask[..., : inputs.length].copy_(inputs.mask)
        own.mask[..., inputs.length :].fill_(-torch.inf)

    def wanted(self, count: int) -> Tensor:
        """Memory for the numbers of `count` rows; what stands there are always rows of this forward."""
        if count not in self._wanted:
            with torch.inference_mode(False):
                self._wanted[count] = torch.zeros(count, dtype=torch.int64, device=self.inputs.rows.device)
        return self._wanted[count]
