"""Checks at load: what a library model must pass before it is decoded with drafts, and what its layers do without their sub-layers."""

from __future__ import annotations

from typing import Any

import torch

from casspec.runtime.model.forward_input import CONTEXT_STEP
from casspec.runtime.model.generic.anatomy import WATCHED_TOKENS
from casspec.runtime.model.generic.backend import FAULTS, GenericBackend
from casspec.runtime.model.generic.plan_views import silenced
from casspec.runtime.model.generic.refusals import first_line, told
from casspec.runtime.model.inputs import InputBuffers
from casspec.runtime.model.tree_check import StraightTexts, TreeErrors, straight_texts, tree_errors
from casspec.storage.errors import UnsupportedModel

IDENTITY = 1e-2
"""Relative change that is rounding, where a layer without its sub-layers gives back what it was given."""


@torch.inference_mode()
def check(backend: GenericBackend, model: Any, pack: bool = False, release: bool = False) -> TreeErrors:
    """Compares a backend with its library model, and tells it which sub-layers can be left out.

    Args:
        pack, release: of the weights, as `Backend.pack`, when the library model has said what it says of them.

    Raises:
        UnsupportedModel: they differ, or one of them does not run. The library model has its weights then.
    """
    try:
        texts = straight_texts(backend, model)
        errors = _packed_errors(backend, model, texts, release) if pack else None
        errors = errors or tree_errors(backend, texts)
    except FAULTS as error:
        raise UnsupportedModel(told(model.config, f"it does not run ({first_line(error)})")) from error
    if not errors.are_small:
        raise UnsupportedModel(
            told(model.config, f"it does not say over a tree what it says token by token: {errors.told()}")
        )
    backend.traits.are_separable, backend.traits.are_identity = _layers(backend)
    return errors


def _packed_errors(backend: GenericBackend, model: Any, texts: StraightTexts, release: bool) -> TreeErrors | None:
    """Of a backend whose linears are run by native calls from then on; None where they stay the library's."""
    try:
        backend.pack(model, release)
        errors = tree_errors(backend, texts)
        if errors.are_small:
            return errors
    except FAULTS:  # of a layer that does more with a linear than to call it
        pass
    backend.unpack()
    return None


def _layers(backend: GenericBackend) -> tuple[bool, bool]:
    """Whether layers run without their sub-layers, and whether each then gives back what it is given; one of each kind."""
    anatomy, kinds, is_identity = backend.anatomy, set(), True
    cache = backend.new_cache(CONTEXT_STEP, 1)
    tokens = range(
        WATCHED_TOKENS + 2
    )  # another number of them than what was watched: a form that holds for those alone shows
    inputs = InputBuffers(cache.capacity, backend.dtype, backend.device).causal(tokens, 0)
    for call, layer, parts in zip(backend.frame(inputs, cache).calls, anatomy.layers, anatomy.parts, strict=True):
        kind = type(layer), parts.attention, parts.mlp
        if kind in kinds:
            continue
        kinds.add(kind)
        if not parts.attention or not parts.mlp:
            return False, False
        try:
            returned = call(silenced(layer, parts, False, False), call.hidden)
        except (TypeError, AttributeError, RuntimeError, ValueError, IndexError):
            return False, False
        change = float((returned - call.hidden).abs().max())
        is_identity &= change <= IDENTITY * float(call.hidden.abs().max())
    return True, is_identity
