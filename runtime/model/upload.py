"""Bytes that go to a device in one copy, which the host does not wait for."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

RING = 4
"""Places on the host that take turns, so that the next bytes are written while the last ones are on their way."""


class Upload:
    """Memory of one size on a device, and where it is written on the host.

    Args:
        n_bytes: of both.

    Attributes:
        on_device: uint8 [n_bytes]; its address never changes.
    """

    def __init__(self, n_bytes: int, device: torch.device) -> None:
        with torch.inference_mode(False):
            self.on_device = torch.zeros(n_bytes, dtype=torch.uint8, device=device)
        pinned = device.type == "cuda" and torch.cuda.is_available()
        self._places = [_Place(n_bytes, pinned) for _ in range(RING if pinned else 1)]
        self._turn = 0

    def begin(self) -> memoryview:
        """Bytes to write, all of them; `send` takes them to the device. Waits where the device has yet to read what is there."""
        self._turn = (self._turn + 1) % len(self._places)
        return self._places[self._turn].writable()

    def send(self) -> None:
        """Copies what was written, behind the work that the device was given before."""
        self._places[self._turn].send(self.on_device)


class _Place:
    """Bytes on the host; `pinned`, a device copies from there by itself."""

    def __init__(self, n_bytes: int, pinned: bool) -> None:
        self._was_read: Any = None
        with torch.inference_mode(False):
            if pinned:
                self._tensor: Tensor = torch.zeros(n_bytes, dtype=torch.uint8, pin_memory=True)
                array: Any = self._tensor.numpy()
                self._bytes = memoryview(array)
                self._was_read = torch.cuda.Event()
            else:
                memory = bytearray(n_bytes)
                self._tensor, self._bytes = torch.frombuffer(memory, dtype=torch.uint8), memoryview(memory)

    def writable(self) -> memoryview:
        if self._was_read is not None:
            self._was_read.synchronize()
        return self._bytes

    def send(self, on_device: Tensor) -> None:
        on_device.copy_(self._tensor, non_blocking=True)
        if self._was_read is not None:
            self._was_read.record()
