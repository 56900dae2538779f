"""Forwards through the library's own layers, of any decoder that passes the checks: every plan is a view of the model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import ModelOutput

from casspec.runtime.model.forward_input import ForwardInput
from casspec.runtime.model.generic.anatomy import Anatomy, LayerParts, anatomy_of, text_config
from casspec.runtime.model.generic.attention import quickened
from casspec.runtime.model.generic.costs import part_costs
from casspec.runtime.model.generic.limits import context_limit
from casspec.runtime.model.generic.masks import MaskPlan, mask_plan
from casspec.runtime.model.generic.refusals import first_line, refused, told
from casspec.runtime.model.generic.slot_cache import JointCache, LongPast, SlotCache, joint_masks
from casspec.runtime.model.generic.views import Call, Giving, Passing, StandIn, Zeros, copied, with_module
from casspec.runtime.model.joint_input import JointInput
from casspec.runtime.model.kv_cache import KVCache
from casspec.runtime.model.plan import Plan, Steps
from casspec.storage.errors import UnsupportedModel
from casspec.storage.schema import Backend, Precision

NO_LOW_BITS = "the generic backend runs a model's own linears; only the lean forward has kernels of few bits"


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
        except (RuntimeError, TypeError, AttributeError, ValueError, KeyError, IndexError) as error:
            raise UnsupportedModel(
                told(model.config, f"it cannot be run part by part ({first_line(error)})")
            ) from error

    @torch.inference_mode()
    def _find_out(self, model: Any) -> None:
        config, embedding = text_config(model.config), model.get_input_embeddings().weight
        self._config = config
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
        self.is_separable = True
        """Whether a layer runs with one of its sub-layers alone; where not, a plan runs whole layers. Set by `checks.py`."""
        self.is_identity = True
        """Whether a layer without its sub-layers gives back what it was given. Set by `checks.py`."""
        self._views: dict[Steps, nn.Module] = {}
        self._layer_views: dict[tuple[int, bool, bool], nn.Module] = {}
        self._blank: dict[int, Frame] = {}
        self._head = _HeadAlone(model, self.anatomy)
        self.vocab_size = self.read(torch.zeros(1, self.hidden_size, dtype=self.dtype, device=self.device)).shape[-1]

    def new_cache(self, capacity: int, batch: int) -> KVCache:
        return KVCache(self.layer_rows, capacity, batch, self.dtype, self.device)

    def costs(self) -> dict[str, float]:
        return part_costs(self.anatomy, self._config, self.layer_rows, self.vocab_size, self.dtype)

    def logits(self, inputs: ForwardInput, cache: KVCache, plan: Plan, wanted: Tensor | None) -> Tensor:
        hidden = self.hidden(inputs, cache, plan)
        return self.read(hidden if wanted is None else hidden.index_select(0, wanted))

    def joint_logits(self, inputs: JointInput, plan: Plan, wanted: Tensor | None) -> Tensor:
        numbers, visible = inputs.numbers(), joint_masks(inputs)
        cache = JointCache(inputs)
        returned = self._view(plan.steps)(
            input_ids=numbers[:1],
            position_ids=numbers[1:2],
            attention_mask=self.masks.handed(visible),
            past_key_values=cache,
            use_cache=True,
        )
        hidden = returned[0][0]
        return self.read(hidden if wanted is None else hidden.index_select(0, wanted))

    def hidden(self, inputs: ForwardInput, cache: KVCache, plan: Plan) -> Tensor:
        returned = self._view(plan.steps)(**self._arguments(inputs, cache))
        return returned[0].flatten(0, 1)

    def read(self, hidden: Tensor) -> Tensor:
        return self._head(hidden)

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
            states = frame.calls[step[0]](self._layer_view(step), states)
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
        return None if precision is Precision.TARGET else NO_LOW_BITS

    def prepare(self, precision: Precision) -> None:
        """Nothing is packed."""

    def release(self, precision: Precision) -> None:
        """Nothing is packed."""

    def is_prepared(self, precision: Precision) -> bool:
        return precision is Precision.TARGET

    def extra_bytes(self, precision: Precision) -> int:
        return 0

    # ----------------------------------------------------------------------------------------------------------- views

    def _arguments(self, inputs: ForwardInput, cache: KVCache) -> dict[str, Any]:
        return {
            "input_ids": inputs.token_ids,
            "position_ids": inputs.positions,
            "attention_mask": self.masks.handed(cache.masks(inputs)),
            "past_key_values": SlotCache(cache, inputs),
            "use_cache": True,
        }

    def _view(self, steps: Steps) -> nn.Module:
        """The body with the sub-layers of a plan alone."""
        view = self._views.get(steps)
        if view is None:
            view = self._views[steps] = self._made(steps)
        return view

    def _made(self, steps: Steps) -> nn.Module:
        anatomy = self.anatomy
        running = {index: (attends, feeds) for index, attends, feeds in steps}
        kinds = [running.get(index, (False, False)) for index in range(len(anatomy.layers))]
        if all(attends and feeds for attends, feeds in kinds):
            return anatomy.body
        return anatomy.with_layers([self._layer_view((index, *kind)) for index, kind in enumerate(kinds)])

    def _layer_view(self, step: tuple[int, bool, bool]) -> nn.Module:
        view = self._layer_views.get(step)
        if view is None:
            view = self._layer_views[step] = self._made_layer(*step)
        return view

    def _made_layer(self, index: int, attends: bool, feeds: bool) -> nn.Module:
        layer, parts = self.anatomy.layers[index], self.anatomy.parts[index]
        if not attends and not feeds and (self.is_identity or not self.is_separable):
            return Passing(layer, parts.output)
        if (attends and feeds) or not self.is_separable:
            return layer
        return silenced(layer, parts, attends, feeds)

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


def silenced(layer: nn.Module, parts: LayerParts, attends: bool, feeds: bool) -> nn.Module:
    """A layer whose attention, MLP or both give zeros."""
    silent = (() if attends else (parts.attention,)) + (() if feeds else parts.mlp)
    return copied(layer, {name: Zeros(getattr(layer, name), parts.forms[name]) for name in silent})


@dataclass
class _BodyOutput(ModelOutput):
    """What a body returns: hidden states, and None for whatever else a head looks for."""

    last_hidden_state: Tensor | None = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return None


class _HeadAlone:
    """A model whose body gives hidden states it is handed: what it then says are the logits, scaled as the model scales them."""

    def __init__(self, model: nn.Module, anatomy: Anatomy) -> None:
        self._body = _Body(anatomy.body)
        self._view = with_module(model, anatomy.path, self._body)

    def __call__(self, hidden: Tensor) -> Tensor:
        self._body.hidden = hidden[None]
        logits = self._view(input_ids=hidden.new_zeros((1, 1), dtype=torch.int64)).logits
        self._body.hidden = None
        return logits[0]


class _Body(StandIn):
    """A body that returns the hidden states it holds."""

    hidden: Tensor | None = None

    def forward(self, *args: Any, **kwargs: Any) -> _BodyOutput:
        return _BodyOutput(last_hidden_state=self.hidden)
