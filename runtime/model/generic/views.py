"""Views of a library model: copies that share every parameter, in which some modules are others.

Nothing of the model itself is changed, so any number of views live beside it and each other. A module is copied with its dictionary of
children; those that a view leaves out are replaced by one that returns zeros, as if the residual stream had been given nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class OutputForm:
    """What a module returned when it was watched.

    Attributes:
        width: of the last dimension; dtype: of the numbers.
        beside: what stands behind them in a tuple, zeros in place of tensors; None where the numbers are no tuple.
    """

    width: int
    dtype: torch.dtype
    beside: tuple[Tensor | None, ...] | None

    @classmethod
    def of(cls, returned: Any) -> OutputForm | None:
        """None for what does not begin with numbers."""
        first = returned[0] if isinstance(returned, tuple) and returned else returned
        if not isinstance(first, Tensor) or not first.is_floating_point():
            return None
        beside = None
        if isinstance(returned, tuple):
            beside = tuple(torch.zeros_like(part) if isinstance(part, Tensor) else None for part in returned[1:])
        return cls(first.shape[-1], first.dtype, beside)

    def filled(self, numbers: Tensor) -> Any:
        """The same form around other numbers."""
        return numbers if self.beside is None else (numbers, *self.beside)


class StandIn(nn.Module):
    """Takes the place of a module, whose attributes it has; the module is no child of it."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.__dict__["inner"] = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["inner"], name)


class Zeros(StandIn):
    """Returns zeros in the form of its module."""

    def __init__(self, inner: nn.Module, form: OutputForm) -> None:
        super().__init__(inner)
        self._form = form

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        x = first_tensor(args, kwargs)
        return self._form.filled(x.new_zeros(*x.shape[:-1], self._form.width, dtype=self._form.dtype))


class Passing(StandIn):
    """A layer that returns what it was given: one without its sub-layers, where these are all it does."""

    def __init__(self, inner: nn.Module, form: OutputForm) -> None:
        super().__init__(inner)
        self._form = form

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self._form.filled(first_tensor(args, kwargs))


class Giving(StandIn):
    """A layer that returns numbers it holds."""

    def __init__(self, inner: nn.Module, form: OutputForm, numbers: Tensor) -> None:
        super().__init__(inner)
        self._form, self._numbers = form, numbers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self._form.filled(self._numbers)


@dataclass(frozen=True, slots=True)
class Call:
    """How a model called a layer."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    @property
    def hidden(self) -> Tensor:
        return first_tensor(self.args, self.kwargs)

    @property
    def tensors(self) -> Iterator[Tensor]:
        """All that were given by themselves."""
        yield from (value for value in (*self.args, *self.kwargs.values()) if isinstance(value, Tensor))

    def __call__(self, layer: nn.Module, hidden: Tensor) -> Tensor:
        """The same call of a layer, with other numbers."""
        args, named = ((hidden, *self.args[1:]), {}) if self.args else ((), {"hidden_states": hidden})
        returned = layer(*args, **{**self.kwargs, **named})
        return returned[0] if isinstance(returned, tuple) else returned


class Recording(StandIn):
    """A layer that notes how it was called, and returns what it was given."""

    def __init__(self, inner: nn.Module, form: OutputForm | None, calls: list[Call]) -> None:
        super().__init__(inner)
        self._form, self._calls = form, calls

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        self._calls.append(Call(args, kwargs))
        hidden = first_tensor(args, kwargs)
        return self._form.filled(hidden) if self._form else hidden


class Watched(StandIn):
    """A module that runs, between two notes."""

    def __init__(self, inner: nn.Module, before: Callable[[], None], after: Callable[[Any], None]) -> None:
        super().__init__(inner)
        self._before, self._after = before, after

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        self._before()
        returned = self.__dict__["inner"](*args, **kwargs)
        self._after(returned)
        return returned


def first_tensor(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    """What a module works on: its first argument, whether named or not."""
    for value in (*args, *kwargs.values()):
        if isinstance(value, Tensor):
            return value
    raise TypeError("a module of the model was called without a tensor")


def copied(module: nn.Module, changes: Mapping[str, nn.Module]) -> nn.Module:
    """A copy that shares parameters and children, but for the children in `changes`."""
    twin = copy.copy(module)
    twin._modules = {**module._modules, **changes}
    return twin


def with_module(root: nn.Module, path: Sequence[str], module: nn.Module) -> nn.Module:
    """A view of a module in which another one stands at `path`."""
    name, *rest = path
    if not rest:
        return copied(root, {name: module})
    child = root._modules[name]
    assert child is not None
    return copied(root, {name: with_module(child, rest, module)})


def changed(
    root: nn.Module, change: Callable[[nn.Module], nn.Module | None], made: dict[int, nn.Module] | None = None
) -> nn.Module:
    """A view of a module in which others stand for some: `change` gives another module, or None to be asked of the children.

    Where nothing changes it is the module itself. A module that stands at two places is asked of once (`made`).
    """
    made = {} if made is None else made
    known = made.get(id(root))
    if known is None:
        known = change(root)
    if known is None:
        children = {name: child for name, child in root._modules.items() if child is not None}
        views = {name: changed(child, change, made) for name, child in children.items()}
        others = {name: view for name, view in views.items() if view is not children[name]}
        known = copied(root, others) if others else root
    made[id(root)] = known
    return known
