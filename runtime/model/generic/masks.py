"""Which mask each layer of a model needs: read off the masks that the library makes, with recorders in the place of layers.

A model is told of a long past, so that windows show whatever their size, and only two queries are asked about. What its layers are given
says how far back each sees. Then masks of ours are handed in, and each has to arrive where it belongs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from casspec.runtime.model.generic.anatomy import Anatomy
from casspec.runtime.model.generic.refusals import first_line
from casspec.runtime.model.generic.slot_cache import LongPast
from casspec.runtime.model.generic.views import Call
from casspec.storage.errors import UnsupportedModel

N_QUERIES = 2
BEYOND = 8
"""Tokens of the past that the largest window does not reach."""

NO_WINDOW = frozenset({"max_window_layers", "chunk_size_feed_forward"})
"""Settings that are named like a window's size, and are none."""

SEEN = -1e4
"""A larger additive mask shows a slot."""


@dataclass(frozen=True, slots=True)
class MaskPlan:
    """What to hand in.

    Attributes:
        windows: by layer, None for one that sees everything.
        kinds: window by kind of layer, where a model takes a mask for each; None where it takes one for all.
    """

    windows: tuple[int | None, ...]
    kinds: Mapping[str, int | None] | None

    def handed(self, masks: Mapping[int | None, Tensor]) -> Any:
        """The argument `attention_mask`, of masks by window."""
        if self.kinds is None:
            return masks[self.windows[0]]
        return {kind: masks[window] for kind, window in self.kinds.items()}


@torch.inference_mode()
def mask_plan(anatomy: Anatomy, config: Any, max_context: int) -> MaskPlan:
    """Of a model. Raises UnsupportedModel where its masks cannot be ours."""
    named = window_fields(config, max_context)
    past = max(named.values(), default=0) + BEYOND
    calls = _calls(anatomy, past, None)
    windows = tuple(_window(call, past, max_context) for call in calls)
    hidden = {name: size for name, size in named.items() if size not in windows}
    if hidden:
        told = ", ".join(f"{name} = {size}" for name, size in hidden.items())
        raise UnsupportedModel(
            f"this {config.model_type} sets {told}, which none of its masks shows: it limits what tokens see in a way that trees of "
            "drafts cannot follow"
        )
    plan = MaskPlan(windows, _kinds(config, windows))
    _check_arrival(anatomy, plan, past)
    return plan


def window_fields(config: Any, max_context: int) -> dict[str, int]:
    """Settings that seem to limit what a token sees, as far as they are shorter than the context."""
    settings = config.to_dict()
    if settings.get("use_sliding_window") is False:
        settings = {name: value for name, value in settings.items() if name != "sliding_window"}
    kinds = set(settings.get("layer_types") or ["sliding_attention"])
    if "sliding_attention" not in kinds:
        settings = {name: value for name, value in settings.items() if "sliding_window" not in name}
    return {
        name: value
        for name, value in settings.items()
        if ("window" in name or "chunk" in name)
        and name not in NO_WINDOW
        and not name.endswith("_pattern")
        and isinstance(value, int)
        and not isinstance(value, bool)
        and 0 < value < max_context
    }


def _calls(anatomy: Anatomy, past: int, mask: Any) -> list[Call]:
    device = next(anatomy.body.parameters()).device
    positions = torch.arange(past, past + N_QUERIES, device=device)[None]
    calls = anatomy.calls(
        input_ids=torch.zeros(1, N_QUERIES, dtype=torch.int64, device=device),
        position_ids=positions,
        attention_mask=mask,
        past_key_values=LongPast(len(anatomy.layers), past, past + N_QUERIES),
        use_cache=True,
    )
    if len(calls) != len(anatomy.layers):
        raise UnsupportedModel(f"{type(anatomy.body).__name__} runs {len(calls)} of its {len(anatomy.layers)} layers")
    return calls


def _window(call: Call, past: int, max_context: int) -> int | None:
    """How far back the queries of a call see, counted with themselves."""
    length = past + N_QUERIES
    mask = _mask_of(call, length)
    if mask is None:
        return None
    seen = mask if mask.dtype is torch.bool else mask > SEEN
    seen = seen.reshape(-1, N_QUERIES, length)[0]
    window = int(seen[-1].sum())
    slots, queries = torch.arange(length, device=seen.device), torch.arange(past, length, device=seen.device)[:, None]
    expected = (slots <= queries) & (slots > queries - window)
    if not torch.equal(seen, expected):
        raise UnsupportedModel("its layers see tokens in a pattern that is neither causal nor a sliding window")
    return None if window == length or window >= max_context else window


def _mask_of(call: Call, length: int) -> Tensor | None:
    """What among a call's arguments is as wide as the text."""
    found = [tensor for tensor in call.tensors if tensor.ndim == 4 and tensor.shape[-2:] == (N_QUERIES, length)]
    return found[0] if found else None


def _kinds(config: Any, windows: tuple[int | None, ...]) -> dict[str, int | None] | None:
    """Window by kind of layer, where layers differ. Raises UnsupportedModel where their kinds do not tell them apart."""
    if len(set(windows)) == 1:
        return None
    kinds: list[str] = getattr(config, "layer_types", None) or []
    found = dict(zip(kinds, windows, strict=True)) if len(kinds) == len(windows) else {}
    if not found or any(found[kind] != window for kind, window in zip(kinds, windows, strict=True)):
        raise UnsupportedModel(
            f"layers of this {config.model_type} see {_told(windows)}, and nothing in its config says which is which"
        )
    return found


def _told(windows: tuple[int | None, ...]) -> str:
    sizes = ["all tokens" if window is None else f"{window} tokens" for window in sorted(set(windows), key=str)]
    return " and ".join(sizes)


def _check_arrival(anatomy: Anatomy, plan: MaskPlan, past: int) -> None:
    """Raises UnsupportedModel where a mask that is handed in does not reach the layers it is for."""
    parameter = next(anatomy.body.parameters())
    shape, dtype = (1, 1, N_QUERIES, past + N_QUERIES), anatomy.parts[0].output.dtype
    masks = {
        window: torch.full(shape, -float(mark), dtype=dtype, device=parameter.device)
        for mark, window in enumerate(dict.fromkeys(plan.windows))
    }
    try:
        calls = _calls(anatomy, past, plan.handed(masks))
    except (ValueError, TypeError, AttributeError, KeyError, IndexError, RuntimeError) as error:
        raise UnsupportedModel(
            f"{type(anatomy.body).__name__} takes no mask of another's making ({first_line(error)})"
        ) from error
    for index, (call, window) in enumerate(zip(calls, plan.windows, strict=True)):
        arrived = _mask_of(call, past + N_QUERIES)
        if arrived is None or not torch.equal(arrived, masks[window]):
            raise UnsupportedModel(
                f"layer {index} of {type(anatomy.body).__name__} is not given the mask that is made for it"
            )
