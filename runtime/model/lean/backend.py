"""The lean forward as a backend: one forward a precision, over weights that are packed or the library's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from casspec.runtime.model.forward_input import CONTEXT_STEP, ForwardInput
from casspec.runtime.model.graphs.cache_pool import CachePool
from casspec.runtime.model.graphs.runner import CudaGraphs, GraphRunner
from casspec.runtime.model.graphs.store import MOST_GRAPHS
from casspec.runtime.model.graphs.threads import ThreadGraphs
from casspec.runtime.model.joint_input import JointInput
from casspec.runtime.model.kv_cache import KVCache, LayerRows
from casspec.runtime.model.lean.eager_forward import EagerForward
from casspec.runtime.model.lean.families import Dimensions, family_of, windows_of
from casspec.runtime.model.lean.native_forward import NativeForward, Workspace
from casspec.runtime.model.lean.packed_weights import PackedModel, drained, native_refusal
from casspec.runtime.model.lean.quantization import extra_bytes, quantised, refusal, sub_layer_bytes
from casspec.runtime.model.lean.rotary import Rotary
from casspec.runtime.model.lean.weights import (
    DecoderWeights,
    LayerWeights,
    MappedFiles,
    fuse,
    norm_weight,
    special_linears,
)
from casspec.runtime.model.plan import Plan, Steps
from casspec.storage.errors import UnsupportedModel
from casspec.storage.schema import Backend, Precision

Forward = EagerForward | NativeForward


class LeanBackend:
    """Forwards of ours over a library model's weights: `NativeForward` is one call of compiled code, `EagerForward` torch's operators.

    On CUDA the operators of a forward are captured as a graph (`graphs/`), unless `captures` is off. Other arguments are those of
    `TargetModel`. Raises UnsupportedModel for a family or feature that is not covered, by name.
    """

    name: Backend = "lean"

    def __init__(self, model: Any, pack: bool = False, owned: bool = False, captures: bool = True) -> None:
        reason = lean_refusal(model)
        if reason is not None:
            raise UnsupportedModel(reason)
        config = model.config
        self.family = family_of(config)
        self.sizes = Dimensions.of(config, self.family)
        self.hidden_size, self.vocab_size = self.sizes.hidden, self.sizes.vocab
        self.max_context: int = config.max_position_embeddings
        shape = (self.sizes.kv_heads, self.sizes.head_dim) * 2
        self.layer_rows = tuple(LayerRows(*shape, window) for window in windows_of(config, self.family))

        embedding: Tensor = model.model.embed_tokens.weight.detach()
        self.dtype: torch.dtype = embedding.dtype
        self.device: torch.device = embedding.device
        self._packed: PackedModel | None = None
        self.graphs: ThreadGraphs | None = None
        if self.device.type == "cuda" and torch.cuda.is_available():
            self.capture_with(lambda: CudaGraphs(self.device))
            self.capture(captures)
        self._embedding, self._final_norm = embedding, norm_weight(model.model.norm, self.family)
        self._weights: dict[Precision, DecoderWeights] = {}
        self._forwards: dict[Precision, Forward] = {}
        files = MappedFiles() if owned else None
        layers = (fuse(layer, self.family, files) for layer in model.model.layers)
        weights = DecoderWeights([], model.lm_head.weight.detach(), self.dtype, self.device)
        with torch.no_grad():
            self._rotary = Rotary.of(model)
            if pack and native_refusal(weights, self.sizes) is None:
                self._pack(weights, layers, model if owned else None)
            else:
                weights.layers = list(layers)
                self._serve(weights)

    @torch.no_grad()
    def pack(self, model: Any, release: bool = False) -> None:
        weights = self.weights
        if self.is_native or native_refusal(weights, self.sizes) is not None:
            return
        self._forwards.clear()
        self._weights.clear()
        self._pack(weights, drained(weights.layers), model if release else None)

    def restore(self, model: Any) -> None:
        if self._packed is not None and self._packed.released:
            self._packed.restore(model)

    @property
    def is_native(self) -> bool:
        return self._packed is not None

    @property
    def native_refusal(self) -> str | None:
        return native_refusal(self.weights, self.sizes)

    def capture_with(
        self, new_runner: Callable[[], GraphRunner], most: int | None = None, most_bytes: int | None = None
    ) -> None:
        """Has forwards captured from now on.

        Args:
            new_runner: makes what captures, once a thread. most, most_bytes: of the graphs, as `GraphStore` has them.
        """
        self.graphs = ThreadGraphs(
            new_runner, self.hidden_size, self.vocab_size, self.dtype, self.device, most or MOST_GRAPHS, most_bytes
        )

    def new_cache(self, capacity: int, batch: int) -> KVCache:
        pool = None if self.graphs is None or not self.graphs.is_on else self.graphs.pool
        lent = pool.lend(capacity) if pool is not None and batch == 1 else None
        return self._own.new_cache(capacity, batch) if lent is None else lent

    def reserve(self, n_bytes: int) -> None:
        if self.graphs is None or not self.graphs.is_on or self.graphs.pool is not None:
            return
        row_bytes = self.dtype.itemsize * sum(layer.numbers for layer in self.layer_rows)
        capacity = n_bytes // row_bytes // CONTEXT_STEP * CONTEXT_STEP
        if capacity:
            self.graphs.pool = CachePool(self._own.new_cache(capacity, 1))

    @property
    def is_captured(self) -> bool:
        return self.graphs is not None and self.graphs.is_on

    @property
    def graphs_refusal(self) -> str | None:
        return None if self.graphs is not None else f"{self.device} is no CUDA device"

    def capture(self, on: bool) -> None:
        if self.graphs is not None:
            self.graphs.is_on = on

    def costs(self) -> dict[str, float]:
        sizes, element = self.sizes, self.dtype.itemsize
        attention = sizes.hidden * (2 * sizes.heads + 2 * sizes.kv_heads) * sizes.head_dim
        mlp, head = 3 * sizes.hidden * sizes.intermediate, sizes.hidden * sizes.vocab
        packed = {
            f"{precision}:{part}_bytes": float(n_bytes)
            for precision in Precision
            if precision is not Precision.TARGET
            for part, n_bytes in sub_layer_bytes(self.weights, precision).items()
        }
        return packed | {
            "attention_bytes": float(attention * element),
            "mlp_bytes": float(mlp * element),
            "head_bytes": float(head * element),
            "row_bytes": float(2 * sizes.kv_heads * sizes.head_dim * element),
            "attention_operations": 2.0 * attention,
            "mlp_operations": 2.0 * mlp,
            "head_operations": 2.0 * head,
            "score_operations": 4.0 * sizes.heads * sizes.head_dim,
        }

    def logits(self, inputs: ForwardInput, cache: KVCache, plan: Plan, wanted: Tensor | None) -> Tensor:
        """float32 of a native forward, else of the model's dtype."""
        forward = self._forwards[plan.precision]
        if self.graphs is None or not self.graphs.is_on:
            return forward.logits(inputs, cache, plan.steps, wanted)
        return self.graphs.logits(forward, inputs, cache, plan, wanted)

    def joint_logits(self, inputs: JointInput, plan: Plan, wanted: Tensor | None) -> Tensor:
        forward = self._forwards[plan.precision]
        if self.graphs is None or not self.graphs.is_on:
            return forward.joint_logits(inputs, plan.steps, wanted)
        return self.graphs.joint_logits(forward, inputs, plan, wanted)

    def hidden(self, inputs: ForwardInput, cache: KVCache, plan: Plan) -> Tensor:
        forward = self._forwards[plan.precision]
        if self.graphs is None or not self.graphs.is_on:
            return forward.hidden(inputs, cache, plan.steps)
        return self.graphs.hidden(forward, inputs, cache, plan)

    def read(self, hidden: Tensor) -> Tensor:
        return self._own.read(hidden)

    def frame(self, inputs: ForwardInput, cache: KVCache) -> Any:
        return self._own.frame(inputs, cache)

    def embed(self, inputs: ForwardInput) -> Tensor:
        return self._own.embed(inputs)

    def advanced(self, x: Tensor, frame: Any, steps: Steps) -> Tensor:
        return self._own.advanced(x, frame, steps)

    def normalised(self, x: Tensor) -> Tensor:
        return self._own.normalised(x)

    # ------------------------------------------------------------------------------------------------------ precisions

    @property
    def weights(self) -> DecoderWeights:
        """Its own, in its own precision."""
        return self._weights[Precision.TARGET]

    def refusal(self, precision: Precision) -> str | None:
        return refusal(self.weights, precision, self.is_prepared(precision))

    def prepare(self, precision: Precision) -> None:
        self._weights[precision] = quantised(self.weights, precision)
        self._forwards[precision] = self._forward_over(self._weights[precision], precision)

    def release(self, precision: Precision) -> None:
        if precision is not Precision.TARGET:
            self._weights.pop(precision, None)
            self._forwards.pop(precision, None)
            if self.graphs is not None:
                self.graphs.forget(precision)

    def is_prepared(self, precision: Precision) -> bool:
        return precision in self._forwards

    def extra_bytes(self, precision: Precision) -> int:
        return extra_bytes(self.weights, precision)

    @property
    def _own(self) -> Forward:
        return self._forwards[Precision.TARGET]

    def _pack(self, weights: DecoderWeights, layers: Iterable[LayerWeights], model: Any) -> None:
        self._workspace = Workspace(self.sizes)
        self._packed = PackedModel(weights, layers, self._embedding, self._final_norm, model)
        self._embedding = self._final_norm = torch.empty(0)
        self._serve(self._packed.weights)

    def _serve(self, weights: DecoderWeights) -> None:
        self._weights[Precision.TARGET] = weights
        self._forwards[Precision.TARGET] = self._forward_over(weights, Precision.TARGET)

    def _forward_over(self, weights: DecoderWeights, precision: Precision) -> Forward:
        if self._packed is None:
            return EagerForward(self.sizes, self.layer_rows, weights, self._embedding, self._final_norm, self._rotary)
        packed = self._packed
        return NativeForward(
            self.sizes,
            self.layer_rows,
            weights,
            packed.embedding,
            packed.final_norm,
            self._rotary,
            self._workspace,
            precision,
        )


def lean_refusal(model: Any) -> str | None:
    """Why the lean forward does not cover a library model, in one line; None where it does."""
    try:
        family_of(model.config)
    except UnsupportedModel as error:
        return str(error)
    places = {(str(parameter.dtype).removeprefix("torch."), str(parameter.device)) for parameter in model.parameters()}
    if len(places) > 1:
        found = ", ".join(f"{dtype} on {device}" for dtype, device in sorted(places))
        return f"the weights are spread over {found}; load the model in one dtype on one device"
    layers = getattr(getattr(model, "model", None), "layers", None)
    if layers is None or not hasattr(model, "lm_head"):
        return f"{type(model).__name__} has no layers and head where the library's {model.config.model_type} has them"
    return next((reason for layer in layers if (reason := special_linears(layer))), None)
