"""Numbers go to a device as they are, answers come back as they are, and on the host nothing is copied."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from casspec.runtime.model import transfers
from casspec.runtime.model.transfers import is_host, to_device, to_host

HOST, META = torch.device("cpu"), torch.device("meta")


def test_lists_become_integers_unless_said_otherwise() -> None:
    assert to_device([3, 1], HOST).tolist() == [3, 1]
    assert to_device([], HOST).dtype == torch.int64
    assert to_device([0.5], HOST, torch.float32).dtype == torch.float32


def test_arrays_keep_their_type_and_on_the_host_their_memory() -> None:
    mask = np.zeros((2, 3), bool)
    there = to_device(mask, HOST)
    mask[1, 2] = True
    assert there.dtype == torch.bool
    assert there[1, 2]
    answers = torch.arange(4)
    to_host(answers)[0] = 7
    assert answers[0] == 7


def test_elsewhere_numbers_are_sent_and_shapes_stay() -> None:
    assert is_host(HOST)
    assert not is_host(META)
    sent = to_device([[1, 2], [3, 4]], META)
    assert (sent.device, sent.shape, sent.dtype) == (META, (2, 2), torch.int64)


def test_a_gpu_is_read_through_pinned_memory_and_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Answers:
        """As a tensor on a GPU."""

        device, shape, dtype = torch.device("cuda", 0), (2,), torch.int64

    waited: list[torch.device] = []

    class Stream:
        def __init__(self, device: torch.device) -> None:
            self._device = device

        def synchronize(self) -> None:
            waited.append(self._device)

    copied: list[bool] = []

    class Pinned:
        def copy_(self, answers: Answers, non_blocking: bool) -> None:
            copied.append(non_blocking and isinstance(answers, Answers))

        def numpy(self) -> str:
            assert waited
            return "numbers"

    def empty(shape: tuple[int, ...], dtype: torch.dtype, pin_memory: bool) -> Pinned:
        assert (shape, dtype, pin_memory) == ((2,), torch.int64, True)
        return Pinned()

    monkeypatch.setattr(transfers.torch, "empty", empty)
    monkeypatch.setattr(transfers.torch.cuda, "current_stream", Stream)
    assert to_host(Answers()) == "numbers"  # type: ignore[arg-type]
    assert (copied, waited) == ([True], [Answers.device])
