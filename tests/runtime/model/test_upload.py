"""Bytes sent to memory that stays where it is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from casspec.runtime.model import upload
from casspec.runtime.model.upload import RING, Upload


def test_what_was_written_arrives_at_one_address() -> None:
    memory = Upload(4, torch.device("cpu"))
    address = memory.on_device.data_ptr()
    for text in (b"abcd", b"efgh"):
        memory.begin()[:] = text
        memory.send()
        assert bytes(memory.on_device.tolist()) == text
    assert memory.on_device.data_ptr() == address


def test_nothing_is_written_over_what_a_device_has_yet_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []

    class Event:
        def __init__(self) -> None:
            self.name = f"event {len([line for line in log if line.startswith('made')])}"
            log.append(f"made {self.name}")

        def record(self) -> None:
            log.append(f"record {self.name}")

        def synchronize(self) -> None:
            log.append(f"wait {self.name}")

    zeros = torch.zeros

    def on_cuda(*shape: int, pin_memory: bool = False, device: Any = None, **options: Any) -> torch.Tensor:
        return zeros(*shape, **options)

    cuda = SimpleNamespace(is_available=lambda: True, Event=Event)
    names = {name: getattr(torch, name) for name in ("inference_mode", "uint8", "frombuffer")}
    monkeypatch.setattr(upload, "torch", SimpleNamespace(cuda=cuda, zeros=on_cuda, **names))
    memory = Upload(1, torch.device("cuda"))
    del log[:]
    for turn in range(RING + 1):
        memory.begin()[0] = turn
        memory.send()
        assert memory.on_device.item() == turn
    waits = [line for line in log if line.startswith("wait")]
    assert len(set(waits[:RING])) == RING
    assert waits[RING] == waits[0]
    assert [line.split()[-1] for line in log[::2]] == [line.split()[-1] for line in log[1::2]]
