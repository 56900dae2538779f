"""What crosses between the host and a device, and nothing else does: numbers go there without waiting, answers come back in one read.

A device runs behind the host. Whoever reads from it waits for all that was launched, so a forward is read once: what is asked of its rows
is found on the device, packed into one tensor and read together. Both ways go through memory that the device reaches by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor


def is_host(device: torch.device) -> bool:
    """Whether its tensors lie in the host's own memory."""
    return device.type == "cpu"


def to_device(numbers: Sequence[Any] | np.ndarray, device: torch.device, dtype: torch.dtype = torch.int64) -> Tensor:
    """A tensor of these numbers on a device, which nobody waits for.

    Args:
        dtype: of a list; an array keeps its own.
    """
    host = torch.from_numpy(numbers) if isinstance(numbers, np.ndarray) else torch.tensor(numbers, dtype=dtype)
    return host if is_host(device) else _sent(host, device)


def to_host(answers: Tensor) -> np.ndarray:
    """The numbers of a tensor, once the device has them: the one place where the host waits. numpy has no bfloat16."""
    return _read(answers)


def _sent(host: Tensor, device: torch.device) -> Tensor:
    """Out of memory that CUDA reads by itself. torch gives that to others only after the copy has ended."""
    return (host.pin_memory() if device.type == "cuda" else host).to(device, non_blocking=True)


def _read(answers: Tensor) -> np.ndarray:
    if answers.device.type != "cuda":
        return answers.cpu().numpy()
    there = torch.empty(answers.shape, dtype=answers.dtype, pin_memory=True)
    there.copy_(answers, non_blocking=True)
    torch.cuda.current_stream(answers.device).synchronize()
    return there.numpy()
