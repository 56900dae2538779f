"""What a step may not do on a device: wait for it, or move numbers between it and the host anywhere but in the two named transfers.

The guard sits above a fake device, whose tensors have shapes and no numbers. Every operator passes it. One that waits is refused, and so is
one whose tensors lie on both sides: a copy, an index on the host, a scalar that is a tensor on the host.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten

WAITS = frozenset(
    {
        aten._local_scalar_dense,
        aten.item,
        aten.is_nonzero,
        aten.equal,
        aten.nonzero,
        aten.masked_select,
        aten._unique2,
        aten.unique_consecutive,
        aten.repeat_interleave,
    }
)
"""Operators whose result the host has to know, or whose shape depends on numbers."""


INDEXES = frozenset({aten.index, aten.index_put_, aten.index_put})
"""Operators that wait for truth values among their indices."""

FILLS = frozenset({aten.fill_})
"""Operators that take a number of the host with them."""


class Crossing(AssertionError):
    """Something crossed where nothing may."""


def sides(values: Any) -> Iterator[str]:
    """Kinds of device of all tensors among some values."""
    return (value.device.type for value in tensors(values))


def tensors(values: Any) -> Iterator[Tensor]:
    """All among some values."""
    return (value for value in tree_leaves(values) if isinstance(value, Tensor))


class DeviceGuard(TorchDispatchMode):
    """Raises Crossing, with the operator's name.

    Attributes:
        operators: how often each ran on the device.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operators: dict[str, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        given = dict(kwargs or {})
        before = set(sides((args, given)))
        by_truth = func.overloadpacket in INDEXES and any(one.dtype is torch.bool for one in tensors(args[1]))
        if (func.overloadpacket in WAITS or by_truth) and "cuda" in before:
            raise Crossing(f"{func} waits for the device")
        if func.overloadpacket in FILLS:
            before = set(sides(args[0]))
        if before and given.get("device") is not None:
            before.add(torch.device(given["device"]).type)
        _on_one_side(func, before)
        found = func(*args, **given)
        there = before | set(sides(found))
        _on_one_side(func, there)
        if there == {"cuda"}:
            self.operators[str(func)] = self.operators.get(str(func), 0) + 1
        return found


def _on_one_side(func: Any, there: set[str]) -> None:
    if len(there) > 1:
        raise Crossing(f"{func} has tensors on {' and '.join(sorted(there))}")


class ReadCount:
    """Refuses to read twice of one forward.

    Attributes:
        forwards: that somebody may read from. reads: so far.
    """

    def __init__(self) -> None:
        self.forwards = self.reads = 0
        self._unread = False

    def ran(self) -> None:
        """A forward was launched."""
        self.forwards += 1
        self._unread = True

    def read(self) -> None:
        """Somebody reads."""
        if not self._unread:
            raise Crossing("a forward is read twice")
        self.reads += 1
        self._unread = False
