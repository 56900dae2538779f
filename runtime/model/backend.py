"""What a model's forwards run on: the interface of `lean/` and `generic/`."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from casspec.runtime.model.forward_input import ForwardInput
from casspec.runtime.model.joint_input import JointInput
from casspec.runtime.model.kv_cache import KVCache, LayerRows
from casspec.runtime.model.plan import Plan, Steps
from casspec.storage.schema import Backend as BackendName
from casspec.storage.schema import Precision


class Backend(Protocol):
    """Forwards over the weights of one model.

    Attributes:
        name: what measurements of it are kept under.
        layer_rows: what each layer keeps in the cache.
    """

    name: BackendName
    layer_rows: tuple[LayerRows, ...]
    dtype: torch.dtype
    device: torch.device
    hidden_size: int
    vocab_size: int
    max_context: int

    def pack(self, model: Any, release: bool = False) -> None:
        """Puts the weights in the order that native code reads them; nothing happens where that cannot run.

        Args:
            model: the library model. release: lets its weights go, linear by linear, so that nothing is held twice.
        """

    def restore(self, model: Any) -> None:
        """Fills a library model whose weights were let go, for good."""

    @property
    def is_native(self) -> bool:
        """Whether native code runs its linears."""

    @property
    def native_refusal(self) -> str | None:
        """Why native code cannot run them here, in one line; None where it can."""

    def new_cache(self, capacity: int, batch: int) -> KVCache:
        """A cache as its forwards read it; `capacity` is a multiple of CONTEXT_STEP."""

    def reserve(self, n_bytes: int) -> None:
        """Sets memory aside for caches that forwards over several sequences share; nothing happens where these need none."""

    @property
    def is_captured(self) -> bool:
        """Whether its forwards are captured as graphs."""

    @property
    def graphs_refusal(self) -> str | None:
        """Why they cannot be, in one line; None where they can."""

    def capture(self, on: bool) -> None:
        """Has forwards captured from now on, or not; nothing happens where they cannot be."""

    def costs(self) -> dict[str, float]:
        """Bytes and operations of its parts, by the names that `runtime/latency/features.py` uses.

        `attention_bytes`, `mlp_bytes`, `head_bytes` of weights read for one token, the mean over layers; `row_bytes` of a cached row in
        one layer; the operations of one token likewise, and `score_operations` for a token attended to. Packed weights have their own
        bytes, `int8-dynamic:mlp_bytes` for instance.
        """

    def logits(self, inputs: ForwardInput, cache: KVCache, plan: Plan, wanted: Tensor | None) -> Tensor:
        """[batch * queries, vocab], or of the rows `wanted` (int64) alone."""

    def joint_logits(self, inputs: JointInput, plan: Plan, wanted: Tensor | None) -> Tensor:
        """Of several sequences, one after the other: [rows, vocab], or of the rows `wanted` (int64) alone."""

    def hidden(self, inputs: ForwardInput, cache: KVCache, plan: Plan) -> Tensor:
        """Final-norm hidden states [batch * queries, hidden]."""

    def read(self, hidden: Tensor) -> Tensor:
        """Logits [rows, vocab] of final-norm hidden states [rows, hidden]."""

    def frame(self, inputs: ForwardInput, cache: KVCache) -> Any:
        """What the sub-layers of one forward share."""

    def embed(self, inputs: ForwardInput) -> Tensor:
        """The residual stream before the first layer [batch * queries, hidden]."""

    def advanced(self, x: Tensor, frame: Any, steps: Steps) -> Tensor:
        """The residual stream [rows, hidden] after some sub-layers; without a frame no attention may run."""

    def normalised(self, x: Tensor) -> Tensor:
        """The final norm [rows, hidden]."""

    def refusal(self, precision: Precision) -> str | None:
        """Why plans of this precision cannot run here, in one line; None when they can."""

    def prepare(self, precision: Precision) -> None:
        """Packs the weights of a precision that is not refused."""

    def release(self, precision: Precision) -> None:
        """Frees the packed weights of a precision."""

    def is_prepared(self, precision: Precision) -> bool:
        """Whether forwards of this precision can run without packing weights first."""

    def extra_bytes(self, precision: Precision) -> int:
        """Memory that the packed weights of a precision take beside the target's own."""
