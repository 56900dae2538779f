"""A model's forward through `runtime/native/`: its addresses in one table, one call whatever it runs.

Activations, residual stream and logits are float32 in every dtype of the weights; the cache keeps the model's dtype.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from casspec.runtime.model.forward_input import ForwardInput
from casspec.runtime.model.joint_input import JointInput
from casspec.runtime.model.kv_cache import KVCache, LayerRows
from casspec.runtime.model.lean.families import Activation, Dimensions
from casspec.runtime.model.lean.rotary import Rotary
from casspec.runtime.model.lean.weights import DecoderWeights, LayerWeights, rounded
from casspec.runtime.model.plan import Steps
from casspec.runtime.native.layout import (
    ENTRY_BYTES,
    GELU,
    GELU_TANH,
    GROUP,
    INT4,
    INT8,
    SILU,
    SPARE_ROWS,
    TOTALS,
)
from casspec.runtime.native.packing import KINDS, PackedWeight, padded
from casspec.runtime.native.table import MEETING_BYTES, Extent, Slot
from casspec.storage.schema import Precision

ACTIVATIONS: dict[Activation, int] = {"silu": SILU, "gelu-tanh": GELU_TANH, "gelu": GELU}


@dataclass(slots=True)
class Frame:
    """What the attention sub-layers of one forward share. The table holds addresses of what is here.

    Attributes:
        n_rows: of all sequences. length: the longest attended.
        numbers: addresses of tokens, positions and cache rows, int64 [n_rows] each.
        extents: int64, a row of `table.Extent` a sequence. n_extents: sequences.
        kept: tensors that these addresses are of.
    """

    n_rows: int
    length: int
    numbers: tuple[int, int, int]
    extents: bytes
    n_extents: int
    kept: tuple[Any, ...]


_EXTENT = struct.Struct(f"{len(Extent)}q")


class Workspace:
    """Memory that the forwards of a model work in, one after the other; it grows, and never shrinks."""

    def __init__(self, sizes: Dimensions) -> None:
        self._value_width = padded(sizes.head_dim)
        self._rows, self._length, self._threads = 0, 0, 0
        self._tensors: dict[Slot, Tensor] = {}
        self._width = {
            Slot.X: sizes.hidden,
            Slot.NORMED: sizes.hidden,
            Slot.JOINT: padded((sizes.heads + 2 * sizes.kv_heads) * sizes.head_dim),
            Slot.TURNED: sizes.heads * sizes.head_dim,
            Slot.MIXED: sizes.heads * sizes.head_dim,
            Slot.GATES: 2 * padded(sizes.intermediate),
            Slot.ADDED: padded(sizes.hidden),
        }
        inputs = sizes.hidden, self._width[Slot.MIXED], padded(sizes.intermediate)
        self._level_bytes = -(-max(inputs) // GROUP) * GROUP
        self._meeting = torch.zeros(MEETING_BYTES, dtype=torch.uint8)
        self.entries = np.zeros(len(Slot), np.int64)
        self.entries[Slot.MEETING] = self._meeting.data_ptr()
        self.version = 1

    def reserve(self, rows: int, length: int, n_threads: int) -> None:
        """Room for so many query rows over so many slots."""
        if rows > self._rows:
            self._rows, self.version = rows, self.version + 1
            for slot, width in self._width.items():
                self._tensors[slot] = torch.zeros(rows + SPARE_ROWS, width)
                self.entries[slot] = self._tensors[slot].data_ptr()
            widths = {Slot.LEVELS: self._level_bytes, Slot.ENTRIES: self._level_bytes // GROUP * ENTRY_BYTES}
            for slot, width in widths.items():
                self._tensors[slot] = torch.zeros(rows + SPARE_ROWS, width, dtype=torch.uint8)
                self.entries[slot], self.entries[slot + 1] = self._tensors[slot].data_ptr(), width
        if length > self._length or n_threads > self._threads:
            self._length, self._threads = max(length, self._length), max(n_threads, self._threads)
            self.version += 1
            widths = {
                Slot.SCORES: 2 * SPARE_ROWS * self._length,
                Slot.PARTS: 2 * SPARE_ROWS * self._value_width + TOTALS,
            }
            for slot, width in widths.items():
                self._tensors[slot] = torch.zeros(self._threads, width)
                self.entries[slot] = self._tensors[slot].data_ptr()
                self.entries[slot + 1] = 4 * width

    def rows(self, slot: Slot, n: int) -> Tensor:
        """The first `n` rows there."""
        return self._tensors[slot][:n]


class NativeForward:
    """Sub-layers of one precision of a model.

    Args:
        embedding: [vocab, hidden], or the packed head where both are one. final_norm: [hidden] float32.
        rotary: tables on the processor.
    """

    def __init__(
        self,
        sizes: Dimensions,
        rows: tuple[LayerRows, ...],
        weights: DecoderWeights,
        embedding: Tensor | PackedWeight,
        final_norm: Tensor,
        rotary: Rotary,
        workspace: Workspace,
        precision: Precision = Precision.TARGET,
    ) -> None:
        from casspec.runtime.native import program, threads  # need numba, which plain forwards do without

        self._sizes, self._rows, self._weights, self._workspace = sizes, rows, weights, workspace
        self._kept = (embedding, final_norm, rotary)  # the table holds their addresses alone
        kind = KINDS[weights.dtype]
        linears = {Precision.TARGET: kind, Precision.INT8_DYNAMIC: INT8, Precision.INT4_WEIGHT: INT4}[precision]
        self._run, self._address = threads.runner(), program.address(kind, linears)
        self._layers = np.array(
            [
                [row.window is not None, rotary.tables[kind].data_ptr(), *_addresses(layer)]
                for layer, kind, row in zip(weights.layers, rotary.kinds, rows, strict=True)
            ],
            np.int64,
        )
        self._window = next((row.window for row in rows if row.window is not None), None)
        self._steps: dict[Steps, np.ndarray] = {}
        self._seen_version = 0
        table = self._table = np.zeros(len(Slot), np.int64)
        table[Slot.HIDDEN], table[Slot.HEADS], table[Slot.KEY_HEADS] = sizes.hidden, sizes.heads, sizes.kv_heads
        table[Slot.HEAD_DIM], table[Slot.INNER] = sizes.head_dim, padded(sizes.intermediate)
        table[Slot.QKV] = padded((sizes.heads + 2 * sizes.kv_heads) * sizes.head_dim)
        table[Slot.ADDED_COLUMNS], table[Slot.VALUE_WIDTH] = padded(sizes.hidden), padded(sizes.head_dim)
        table[Slot.EPSILON], table[Slot.SCALE] = _bits(sizes.epsilon), _bits(sizes.score_scale)
        table[Slot.ROTATED], table[Slot.LAYERS] = rotary.width, self._layers.ctypes.data
        table[Slot.SCORE_CAP], table[Slot.LOGIT_CAP] = _bits(sizes.score_cap or 0), _bits(sizes.logit_cap or 0)
        table[Slot.ACTIVATION] = ACTIVATIONS[sizes.activation]
        if sizes.embedding_scale != 1:
            table[Slot.EMBEDDING_SCALE] = _bits(rounded(sizes.embedding_scale, weights.dtype))
        table[Slot.EMBEDDING], table[Slot.EMBEDDING_PACKED] = _address(embedding), isinstance(embedding, PackedWeight)
        table[Slot.FINAL_NORM], table[Slot.HEAD] = final_norm.data_ptr(), weights.head.address
        table[Slot.HEAD_COLUMNS] = weights.head.columns
        self._table_address = table.ctypes.data

    def new_cache(self, capacity: int, batch: int) -> KVCache:
        """A cache as this forward reads it; `capacity` is a multiple of CONTEXT_STEP."""
        weights, width = self._weights, padded(self._sizes.head_dim)
        return KVCache(self._rows, capacity, batch, weights.dtype, weights.device, width)

    def logits(self, inputs: ForwardInput, cache: KVCache, steps: Steps, wanted: Tensor | None = None) -> Tensor:
        """Of all query rows, or of the rows `wanted` (int64): float32 [rows, vocab]."""
        return self._logits(self.frame(inputs, cache), steps, wanted)

    def joint_logits(self, inputs: JointInput, steps: Steps, wanted: Tensor | None = None) -> Tensor:
        """The same of several sequences, one after the other."""
        return self._logits(self._joint_frame(inputs), steps, wanted)

    def _logits(self, frame: Frame, steps: Steps, wanted: Tensor | None) -> Tensor:
        self._begin(frame.n_rows, steps, frame)
        out = self._end(frame.n_rows if wanted is None else len(wanted), wanted)
        self._run(self._address, self._table_address, torch.get_num_threads())
        return out

    def hidden(self, inputs: ForwardInput, cache: KVCache, steps: Steps) -> Tensor:
        """Final-norm hidden states of all query rows: float32 [rows, hidden]."""
        rows, frame = inputs.token_ids.numel(), self.frame(inputs, cache)
        self._begin(rows, steps, frame)
        self._table[Slot.ENDS], self._table[Slot.WANTED], self._table[Slot.N_WANTED] = 1, 0, rows
        return self._result(Slot.NORMED, rows)

    def frame(self, inputs: ForwardInput, cache: KVCache) -> Frame:
        """What the attention sub-layers of one forward share."""
        batch, queries = inputs.token_ids.shape
        mask, window_mask = self._masks(inputs, cache)
        extents = b"".join(
            [
                self._extent(sequence * queries, queries, cache, sequence, inputs.length, mask, window_mask)
                for sequence in range(batch)
            ]
        )
        numbers = inputs.token_ids.data_ptr(), inputs.positions.data_ptr(), inputs.rows.data_ptr()
        return Frame(batch * queries, inputs.length, numbers, extents, batch, (inputs, cache, window_mask))

    def _joint_frame(self, inputs: JointInput) -> Frame:
        extents, kept, first = list[bytes](), list[Any](), 0
        for part in inputs.parts:
            mask, window_mask = self._masks(part.inputs, part.cache)
            length = part.inputs.length
            extents.append(self._extent(first, part.n_rows, part.cache, 0, length, mask, window_mask))
            kept.append((part, window_mask))
            first += part.n_rows
        numbers = inputs.numbers()
        addresses = numbers[0].data_ptr(), numbers[1].data_ptr(), numbers[2].data_ptr()
        return Frame(first, inputs.length, addresses, b"".join(extents), len(extents), (numbers, kept))

    def _masks(self, inputs: ForwardInput, cache: KVCache) -> tuple[Tensor, Tensor]:
        """Of layers without and with a window."""
        return inputs.mask, inputs.mask if self._window is None else cache.masks(inputs)[self._window]

    def _extent(
        self, first: int, n_rows: int, cache: KVCache, sequence: int, length: int, mask: Tensor, window_mask: Tensor
    ) -> bytes:
        """A row of `table.Extent`."""
        (row, batch), (window_row, window_batch) = _strides(mask), _strides(window_mask)
        return _EXTENT.pack(
            first,
            n_rows,
            *cache.addresses,
            cache.n_rows,
            sequence * cache.slots,
            length,
            mask.data_ptr() + sequence * batch,
            row,
            window_mask.data_ptr() + sequence * window_batch,
            window_row,
        )

    def embed(self, inputs: ForwardInput) -> Tensor:
        """The residual stream before the first layer: float32 [rows, hidden]."""
        rows = inputs.token_ids.numel()
        self._begin(rows, (), None)
        self._table[Slot.EMBEDS], self._table[Slot.TOKENS] = 1, inputs.token_ids.data_ptr()
        return self._result(Slot.X, rows)

    def advanced(self, x: Tensor, frame: Frame | None, steps: Steps) -> Tensor:
        """The residual stream [rows, hidden] after some sub-layers; `frame` is needed where attention runs."""
        self._begin(len(x), steps, frame)
        self._table[Slot.EMBEDS] = 0
        self._workspace.rows(Slot.X, len(x)).copy_(x)
        return self._result(Slot.X, len(x))

    def normalised(self, x: Tensor) -> Tensor:
        """The final norm [rows, hidden]."""
        self._begin(len(x), (), None)
        self._table[Slot.ENDS], self._table[Slot.WANTED], self._table[Slot.N_WANTED] = 1, 0, len(x)
        self._workspace.rows(Slot.X, len(x)).copy_(x)
        return self._result(Slot.NORMED, len(x))

    def read(self, hidden: Tensor) -> Tensor:
        """Logits [rows, vocab] of final-norm hidden states."""
        self._begin(len(hidden), (), None)
        self._workspace.rows(Slot.NORMED, len(hidden)).copy_(hidden)
        out = self._end(len(hidden), None)
        self._table[Slot.ENDS] = 0
        self._run(self._address, self._table_address, torch.get_num_threads())
        return out

    def _begin(self, rows: int, steps: Steps, frame: Frame | None) -> None:
        """Fills the table, which holds addresses alone: the frame must live until the forward has run."""
        table, workspace = self._table, self._workspace
        workspace.reserve(rows, 0 if frame is None else frame.length, torch.get_num_threads())
        if workspace.version != self._seen_version:
            self._seen_version = workspace.version
            places = np.flatnonzero(workspace.entries)
            table[places] = workspace.entries[places]
        kept = self._steps.get(steps)
        if kept is None:
            kept = self._steps[steps] = np.array(steps, np.int64).reshape(-1, 3)
        table[Slot.STEPS], table[Slot.N_STEPS], table[Slot.EMBEDS] = kept.ctypes.data, len(kept), frame is not None
        table[Slot.ENDS], table[Slot.LOGITS] = 0, 0
        table[Slot.N_ROWS] = rows
        if frame is None:
            return
        table[Slot.TOKENS], table[Slot.POSITIONS], table[Slot.ROWS] = frame.numbers
        self._extents = frame.extents  # held until the forward has run
        table[Slot.EXTENTS], table[Slot.N_EXTENTS] = _address_of(frame.extents), frame.n_extents

    def _end(self, n: int, wanted: Tensor | None) -> Tensor:
        """Memory for the logits of `n` rows: all, or those `wanted`."""
        table, columns = self._table, self._weights.head.columns
        out = torch.empty(n + SPARE_ROWS, columns)
        table[Slot.ENDS], table[Slot.N_WANTED], table[Slot.LOGITS] = 1, n, out.data_ptr()
        table[Slot.WANTED] = 0 if wanted is None else wanted.data_ptr()
        return out[:n, : self._sizes.vocab]

    def _result(self, slot: Slot, rows: int) -> Tensor:
        self._run(self._address, self._table_address, torch.get_num_threads())
        return self._workspace.rows(slot, rows).clone()


def _addresses(layer: LayerWeights) -> list[int]:
    """In the order of `table.Layer`, from its first weight on."""
    fields = (
        layer.attention_norm, layer.qkv, layer.qkv_bias, layer.q_norm, layer.k_norm,
        layer.output, layer.output_bias, layer.output_norm,
        layer.mlp_norm, layer.gate_up, layer.gate_up_bias, layer.down, layer.down_bias, layer.down_norm,
    )  # fmt: skip
    return [_address(field) for field in fields]


def _address(field: Any) -> int:
    if field is None:
        return 0
    return field.data_ptr() if isinstance(field, Tensor) else field.address


def _strides(mask: Tensor) -> tuple[int, int]:
    """Bytes from one query to the next, and from one sequence to the next."""
    return mask.stride(2) * mask.itemsize, mask.stride(0) * mask.itemsize if mask.shape[0] > 1 else 0


def _address_of(content: bytes) -> int:
    """Of its first byte."""
    return np.frombuffer(content, np.uint8).ctypes.data


def _bits(value: float) -> int:
    """Of a float32."""
    return int(np.float32(value).view(np.int32))
