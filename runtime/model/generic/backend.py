"""Forwards through the library's own layers, of any decoder that passes the checks: every plan is a view of the model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from casspec.runtime.model.forward_input import ForwardInput
from casspec.runtime.model.generic.anatomy import Anatomy, anatomy_of, text_config
from casspec.runtime.model.generic.attention import quickened
from casspec.runtime.model.generic.costs import part_costs, sub_layer_bytes, sub_layer_weights
from casspec.runtime.model.generic.head import HeadAlone
from casspec.runtime.model.generic.limits import context_limit
from casspec.runtime.model.generic.linears.found import found_linears, native_refusal
from casspec.runtime.model.generic.linears.packed import PackedLinears
from casspec.runtime.model.generic.linears.quantised import QuantisedLinears
from casspec.runtime.model.generic.masks import MaskPlan, mask_plan
from casspec.runtime.model.generic.plan_views import LayerTraits, PlanViews
from casspec.runtime.model.generic.refusals import first_line, refused, told
from casspec.runtime.model.generic.slot_cache import JointCache, LongPast, SlotCache, joint_masks
from casspec.runtime.model.generic.views import Call, Giving, Passing
from casspec.runtime.model.joint_input import JointInput
from casspec.runtime.model.kv_cache import KVCache
from casspec.runtime.model.plan import Plan, Steps
from casspec.storage.errors import UnsupportedModel
from casspec.storage.schema import Backend, Precision

FAULTS = (RuntimeError, TypeError, AttributeError, ValueError, KeyError, IndexError)
"""What a library model raises where it is not run as it expects."""

PACKED_ALONE = "the generic backend has kernels of few bits for packed weights alone, and here"


@dataclass(frozen=True, slots=True)
class Frame:
    """How each layer is called in one forward, and what the model makes of the tokens."""

    calls: list[Call]
    shape: tuple[int, int]


class GenericBackend:
    """Forwards over a library model, which is neither changed nor kept alive: its modules are, by the views of it.

    The model is checked by `checks.py`, not here.

    Raises:
        UnsupportedModel: what cannot be decoded with drafts, by name.
    """

    name: Backend = "generic"

    def __init__(self, model: Any) -> None:
        reason = refused(model.config)
        if reason is not None:
            raise UnsupportedModel(reason)
        try:
            self._find_out(model)
        except UnsupportedModel as error:
            raise UnsupportedModel(told(model.config, error)) from error
        except FAULTS as error:
            raise UnsupportedModel(
                told(model.config, f"it cannot be run part by part ({first_line(error)})")
            ) from error

    @torch.inference_mode()
    def _find_out(self, model: Any) -> None:
        config, embedding = text_config(model.config), model.get_input_embeddings().weight
        self.dtype: torch.dtype = embedding.dtype
        self.device: torch.device = embedding.device
        self.max_context = context_limit(config)
        self.anatomy: Anatomy = anatomy_of(model)
        self.masks: MaskPlan = mask_plan(self.anatomy, config, self.max_context)
        self.anatomy = _quick(self.anatomy)
        parts = self.anatomy.parts
        self.layer_rows = tuple(
            replace(part.rows, window=window) for part, window in zip(parts, self.masks.windows, strict=True)
        )
        self.hidden_size = self.anatomy.width
        self.traits = LayerTraits()
        self._packed: PackedLinears | None = None
        self._quantised: QuantisedLinears | None = None
        self._plain = PlanViews(self.anatomy, HeadAlone.of(model, self.anatomy.path), self.traits)
        self._serve(self._plain)
        self.vocab_size = self.read(torch.zeros(1, self.hidden_size, dtype=self.dtype, device=self.device)).shape[-1]
        self._costs = part_costs(self.anatomy, config, self.layer_rows, self.vocab_size, self.dtype)
        self._weights = sub_layer_weights(self.anatomy, config)

    @torch.inference_mode(False)
    @torch.no_grad()
    def pack(self, model: Any, release: bool = False) -> None:
        if self._packed is not None or native_refusal(self.device, self.dtype) is not None:
            return
        self._packed = PackedLinears(found_linears(self._own, model), model if release else None)
        self._quantised = QuantisedLinears(self._packed, self.dtype)
        self._serve(self._own.changed(self._packed.stand_in))

    def unpack(self) -> None:
        """Has the library's own linears run again; weights that were let go are filled."""
        if self._packed is not None:
            self._packed.restore()
            self._packed = self._quantised = None
            self._serve(self._plain)

    def restore(self, model: Any) -> None:
        if self._packed is not None:
            self._packed.restore()

    @property
    def is_native(self) -> bool:
        return self._packed is not None and bool(self._packed.linears)

    @property
    def native_refusal(self) -> str | None:
        return native_refusal(self.device, self.dtype)

    @property
    def is_separable(self) -> bool:
        """Whether a layer runs with one of its sub-layers alone; where not, a plan runs whole layers."""
        return self.traits.are_separable

    @property
    def is_identity(self) -> bool:
        """Whether a layer without its sub-layers gives back what it was given."""
        return self.traits.are_identity

    def new_cache(self, capacity: int, batch: int) -> KVCache:
        return KVCache(self.layer_rows, capacity, batch, self.dtype, self.device)

    def reserve(self, n_bytes: int) -> None:
        """Nothing: its sequences have caches of their own."""

    @property
    def is_captured(self) -> bool:
        return False

    @property
    def graphs_refusal(self) -> str | None:
        return "the generic backend runs the library's own layers, which may read from the device"

    def capture(self, on: bool) -> None:
        """Nothing: they are never."""

    def costs(self) -> dict[str, float]:
        return self._costs | {
            f"{precision}:{part}": n_bytes
            for precision in (Precision.INT8_DYNAMIC, Precision.INT4_WEIGHT)
            for part, n_bytes in self._quantised_bytes(precision).items()
        }

    def logits(self, inputs: ForwardInput, cache: KVCache, plan: Plan, wanted: Tensor | None) -> Tensor:
        hidden = self.hidden(inputs, cache, plan)
        return self._views[plan.precision].read(hidden if wanted is None else hidden.index_select(0, wanted))

    def joint_logits(self, inputs: JointInput, plan: Plan, wanted: Tensor | None) -> Tensor:
        numbers, visible = inputs.numbers(), joint_masks(inputs)
        cache = JointCache(inputs)
        returned = self._views[plan.precision].body(plan.steps)(
            input_ids=numbers[:1],
            position_ids=numbers[1:2],
            attention_mask=self.masks.handed(visible),
            past_key_values=cache,
            use_cache=True,
        )
        hidden = returned[0][0]
        return self._views[plan.precision].read(hidden if wanted is None else hidden.index_select(0, wanted))

    def hidden(self, inputs: ForwardInput, cache: KVCache, plan: Plan) -> Tensor:
        returned = self._views[plan.precision].body(plan.steps)(**self._arguments(inputs, cache))
        return returned[0].flatten(0, 1)

    def read(self, hidden: Tensor) -> Tensor:
        return self._own.read(hidden)

    def frame(self, inputs: ForwardInput, cache: KVCache) -> Frame:
        batch, queries = inputs.token_ids.shape
        return Frame(self.anatomy.calls(**self._arguments(inputs, cache)), (batch, queries))

    def embed(self, inputs: ForwardInput) -> Tensor:
        queries = inputs.token_ids.shape[1]
        calls = self.anatomy.calls(
            input_ids=inputs.token_ids,
            position_ids=inputs.positions,
            past_key_values=LongPast(len(self.layer_rows), 0, queries),
            use_cache=True,
        )
        return calls[0].hidden.flatten(0, 1)

    def advanced(self, x: Tensor, frame: Frame | None, steps: Steps) -> Tensor:
        frame = self._blank_frame(len(x)) if frame is None else frame
        states = x.view(*frame.shape, x.shape[-1])
        for step in steps:
            states = frame.calls[step[0]](self._own.layer(step), states)
        return states.flatten(0, 1)

    def normalised(self, x: Tensor) -> Tensor:
        anatomy = self.anatomy
        layers: list[nn.Module] = [
            Passing(layer, part.output) for layer, part in zip(anatomy.layers, anatomy.parts, strict=True)
        ]
        layers[-1] = Giving(anatomy.layers[-1], anatomy.parts[-1].output, x[None])
        tokens = torch.zeros(1, len(x), dtype=torch.int64, device=self.device)
        returned = anatomy.with_layers(layers)(
            input_ids=tokens, past_key_values=LongPast(len(layers), 0, len(x)), use_cache=True
        )
        return returned[0][0]

    # ------------------------------------------------------------------------------------------------------ precisions

    def refusal(self, precision: Precision) -> str | None:
        if precision is Precision.TARGET:
            return None
        if self._quantised is None:
            reason = native_refusal(self.device, self.dtype)
            return f"{PACKED_ALONE} {'they are not packed' if reason is None else reason}"
        return self._quantised.refusal(precision, self.is_prepared(precision))

    def prepare(self, precision: Precision) -> None:
        assert self._quantised is not None, "refused before"
        stand_ins = self._quantised.stand_ins(precision)
        self._views[precision] = self._own.changed(lambda module: stand_ins.get(id(module)))

    def release(self, precision: Precision) -> None:
        if precision is not Precision.TARGET:
            self._views.pop(precision, None)

    def is_prepared(self, precision: Precision) -> bool:
        return precision in self._views

    def extra_bytes(self, precision: Precision) -> int:
        if self._quantised is None or precision is Precision.TARGET:
            return 0
        return self._quantised.extra_bytes(precision)

    def _quantised_bytes(self, precision: Precision) -> dict[str, float]:
        """Of weights that sub-layers and head read for one token; {} where none is packed."""
        if self._quantised is None:
            return {}
        others = self._quantised.bytes_by_linear(precision)
        parts = sub_layer_bytes(self._weights, len(self.layer_rows), others)
        return parts | {"head_bytes": self._quantised.head_bytes(precision) or self._costs["head_bytes"]}

    @property
    def _own(self) -> PlanViews:
        """In its own precision."""
        return self._views[Precision.TARGET]

    def _serve(self, views: PlanViews) -> None:
        """Has forwards run on these."""
        self._views, self.anatomy = {Precision.TARGET: views}, views.anatomy
        self._blank: dict[int, Frame] = {}

    def _arguments(self, inputs: ForwardInput, cache: KVCache) -> dict[str, Any]:
        return {
            "input_ids": inputs.token_ids,
            "position_ids": inputs.positions,
            "attention_mask": self.masks.handed(cache.masks(inputs)),
            "past_key_values": SlotCache(cache, inputs),
            "use_cache": True,
        }

    def _blank_frame(self, n_rows: int) -> Frame:
        """For layers whose attention is left out: whatever they are told of tokens, they do not read it."""
        frame = self._blank.get(n_rows)
        if frame is None:
            tokens = torch.zeros(1, n_rows, dtype=torch.int64, device=self.device)
            calls = self.anatomy.calls(
                input_ids=tokens, past_key_values=LongPast(len(self.layer_rows), 0, n_rows), use_cache=True
            )
            frame = self._blank[n_rows] = Frame(calls, (1, n_rows))
        return frame


def _quick(anatomy: Anatomy) -> Anatomy:
    """The same model with attention of ours in its layers, where that computes what theirs does."""
    configs: dict[int, Any] = {}
    layers = [
        quickened(layer, parts.attention, configs) for layer, parts in zip(anatomy.layers, anatomy.parts, strict=True)
    ]
    return replace(anatomy, layers=tuple(layers), body=anatomy.with_layers(layers))
