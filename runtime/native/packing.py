"""Weights laid out for the tiles: the same input of LANES neighbouring outputs side by side."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from casspec.runtime.native.layout import BFLOAT16, FLOAT16, FLOAT32, LANES, STEP

KINDS = {torch.float32: FLOAT32, torch.bfloat16: BFLOAT16, torch.float16: FLOAT16}
"""What tiles read, by dtype."""

COLUMNS = LANES * STEP
"""Outputs are padded to a multiple of it."""


@dataclass(frozen=True, slots=True)
class PackedWeight:
    """A weight [out, in]: exact, in another order.

    Attributes:
        values: [vectors, inputs, LANES] in its dtype; outputs and inputs past the weight's own are zero.
        n_in: inputs of its own. parts: outputs of each of the weights that follow each other in it, each padded to COLUMNS.
    """

    values: Tensor
    n_in: int
    parts: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in) of the plain weight."""
        return sum(self.parts), self.n_in

    @property
    def dtype(self) -> torch.dtype:
        return self.values.dtype

    @property
    def columns(self) -> int:
        """Outputs, padded."""
        return len(self.values) * LANES

    @property
    def nbytes(self) -> int:
        return self.values.nbytes

    @property
    def address(self) -> int:
        return self.values.data_ptr()

    def followed_by(self, other: PackedWeight) -> PackedWeight:
        """Both in one, of the same inputs."""
        return PackedWeight(torch.cat((self.values, other.values)), self.n_in, self.parts + other.parts)

    def unpacked(self) -> Tensor:
        """The plain weight again, to the last bit, in memory of its own."""
        sizes = [padded(n_out) for n_out in self.parts]
        rows = self.values.transpose(1, 2).reshape(self.columns, -1)[:, : self.n_in]
        return torch.cat([part[:n_out] for part, n_out in zip(rows.split(sizes), self.parts, strict=True)])


def packed(weight: Tensor, n_inputs: int | None = None) -> PackedWeight:
    """weight: [out, in] in a dtype of KINDS; its inputs are padded to `n_inputs`."""
    n_out, n_in = weight.shape
    values = torch.zeros(padded(n_out) // LANES, n_inputs or n_in, LANES, dtype=weight.dtype)
    whole = n_out // LANES
    values[:whole, :n_in] = weight[: whole * LANES].view(whole, LANES, n_in).transpose(1, 2)
    if n_out > whole * LANES:
        values[whole, :n_in, : n_out - whole * LANES] = weight[whole * LANES :].t()
    return PackedWeight(values, n_in, (n_out,))


def padded(n_out: int) -> int:
    """Columns of a product with so many outputs."""
    return -(-n_out // COLUMNS) * COLUMNS
