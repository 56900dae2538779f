"""Which linears of a library model can be run by others: found by watching one forward over a few tokens, not by names.

A layer may read the weight of a linear that it never calls, or call a linear by a way that no view of the model changes. So a linear
counts as callable where its like was seen called: the child of that name in a module of that class, of which a forward may go through
only some, as it does through experts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from casspec.runtime.model.generic.anatomy import WATCHED_TOKENS
from casspec.runtime.model.generic.plan_views import PlanViews
from casspec.runtime.model.generic.views import StandIn
from casspec.runtime.native import processor
from casspec.runtime.native.packing import KINDS

Place = tuple[type, str]
"""The class of a module, and the name of a child of it."""

LISTS = (nn.ModuleList, nn.ModuleDict, nn.Sequential)

PLAIN = {
    "torch.nn.modules.linear.Linear": False,
    "transformers.models.falcon.modeling_falcon.FalconLinear": False,
    "transformers.pytorch_utils.Conv1D": True,
}
"""Classes that are a linear and nothing more: whether their weight is [in, out]."""


@dataclass(frozen=True, slots=True)
class FoundLinears:
    """Modules of a library model.

    Attributes:
        linears: plain linears that others can run in their place, each once.
        heads: those of them that make logits, by identity.
        embedding: that of the tokens, where its rows can come from elsewhere; else None.
        separate: weights that nobody looks at but by calls of these modules, by identity of the parameter: nobody misses them.
    """

    linears: tuple[nn.Module, ...]
    heads: frozenset[int]
    embedding: nn.Embedding | None
    separate: frozenset[int]


def native_refusal(device: torch.device, dtype: torch.dtype) -> str | None:
    """Why native calls cannot run a model's linears here, in one line; None where they can."""
    if device.type != "cpu":
        return f"the model is on {device.type}"
    if dtype not in KINDS:
        return f"weights in {dtype} are not served"
    return processor.refusal()


@torch.inference_mode()
def found_linears(views: PlanViews, model: Any) -> FoundLinears:
    """Of a model in its own precision, whose weights are all there."""
    body, head = views.anatomy.body, views.head.view
    embedding = model.get_input_embeddings()
    places = dict(_places(body)) | dict(_places(head))
    watch = _Watch(places)
    noting = views.changed(lambda module: watch.over(module) if module is embedding or _is_plain(module) else None)
    noting.anatomy.brief_run(torch.arange(WATCHED_TOKENS)[None] % len(embedding.weight))
    noting.read(torch.zeros(1, views.anatomy.width, dtype=embedding.weight.dtype))

    modules = {id(module): module for root in (body, head) for module in root.modules()}
    linears = [module for key, module in modules.items() if _is_plain(module) and places.get(key) in watch.called]
    heads = frozenset(id(module) for module in head.modules()) & {id(module) for module in linears}
    looked_up = embedding if isinstance(embedding, nn.Embedding) and places.get(id(embedding)) in watch.called else None
    ours = linears if looked_up is None else [*linears, looked_up]
    unread = [module for module in ours if places[id(module)] not in watch.read]
    return FoundLinears(tuple(linears), heads, looked_up, _separate(model, unread))


def _places(root: nn.Module) -> Iterator[tuple[int, Place]]:
    """By identity of a module, where it stands; what stands in a list stands where the list does."""
    for parent in root.modules():
        if not isinstance(parent, LISTS):
            for name, child in parent._modules.items():
                yield from _under((type(parent), name), child)


def _under(place: Place, module: nn.Module | None) -> Iterator[tuple[int, Place]]:
    if module is not None:
        yield id(module), place
    if isinstance(module, LISTS):
        for child in module._modules.values():
            yield from _under(place, child)


def is_transposed(module: nn.Module) -> bool:
    """Whether the weight of a plain linear is [in, out]."""
    return PLAIN[_class_of(module)]


def _class_of(module: nn.Module) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"


def _is_plain(module: nn.Module) -> bool:
    """Whether it is a linear and nothing more, on the processor."""
    if _class_of(module) not in PLAIN or type(module.weight) is not nn.Parameter or "forward" in vars(module):
        return False
    weight = module.weight
    has_hooks = module._forward_hooks or module._forward_pre_hooks
    return weight.numel() > 0 and weight.dtype in KINDS and weight.device.type == "cpu" and not has_hooks


def _separate(model: Any, modules: list[nn.Module]) -> frozenset[int]:
    """Parameters that stand nowhere else in the model than in these modules."""
    everywhere = Counter(id(weight) for _, weight in model.named_parameters(remove_duplicate=False))
    addresses = Counter(weight.data_ptr() for weight in model.parameters())
    weights: list[Any] = [module.weight for module in modules]
    here, found = Counter(map(id, weights)), {id(weight): weight for weight in weights}
    return frozenset(
        key for key, weight in found.items() if here[key] == everywhere[key] and addresses[weight.data_ptr()] == 1
    )


class _Watch:
    """Notes which children were called, and whose weight somebody else looked at."""

    def __init__(self, places: dict[int, Place]) -> None:
        self._places = places
        self.called: set[Place] = set()
        self.read: set[Place] = set()

    def over(self, module: nn.Module) -> nn.Module:
        return _Noting(module, self, self._places[id(module)])


class _Noting(StandIn):
    """A module that runs, and notes it."""

    def __init__(self, inner: nn.Module, watch: _Watch, place: Place) -> None:
        super().__init__(inner)
        self._watch, self._place = watch, place

    def __getattr__(self, name: str) -> Any:
        if name == "weight":
            self._watch.read.add(self._place)
        return super().__getattr__(name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        self._watch.called.add(self._place)
        return self.__dict__["inner"](*args, **kwargs)
