"""Generations as on a device, first on the host with numbers, then on a fake device that has none: the reads of the first are those of the
second, so that every decision made on the host falls as it fell."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from warnings import catch_warnings

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import _disable_current_modes

from casspec.runtime.decoding import sequence
from casspec.runtime.decoding.noise import GumbelNoise
from casspec.runtime.decoding.sequence import MAX_TREE_NODES
from casspec.runtime.latency.timing import ForwardClock, RanForward
from casspec.runtime.loading.profiles import LoadedProfile
from casspec.runtime.model import transfers
from casspec.runtime.model.forward_input import ForwardInput
from casspec.runtime.model.inputs import InputBuffers
from casspec.runtime.model.lean import backend as lean
from casspec.runtime.model.target import TargetModel
from casspec.runtime.model.transfers import is_host
from casspec.runtime.policies import build_policy
from casspec.runtime.session import Listener, Session, Workplace
from casspec.runtime.text.request import Request
from casspec.storage.schema import Mode
from tests.runtime.device.device_slot import cuda_can_be_current
from tests.runtime.device.guard import DeviceGuard, ReadCount
from tests.runtime.tiny import library_model, repetitive_prompt, tiny_profile

CUDA = torch.device("cuda", 0)
PROMPT, N_TOKENS = repetitive_prompt(40), 16


class StillClock(ForwardClock):
    """Times nothing, so that no decision depends on how long something took."""

    def __init__(self) -> None:
        super().__init__(torch.device("cpu"))

    def measure(self, *what: Any) -> AbstractContextManager[None]:
        return nullcontext()

    def recent(self) -> list[RanForward]:
        return []


class FakeInputs(InputBuffers):
    """Inputs on the fake device, of the shapes of those on the host; how they get there is not asked."""

    def __init__(self, capacity: int) -> None:
        with _disable_current_modes():
            super().__init__(capacity, torch.float32, torch.device("cpu"))

    def fill(self, *arguments: Any) -> ForwardInput:
        return self._there(super().fill, arguments)

    def causal(self, *arguments: Any) -> ForwardInput:
        return self._there(super().causal, arguments)

    def _there(self, make: Callable[..., ForwardInput], arguments: Sequence[Any]) -> ForwardInput:
        with _disable_current_modes():
            host = make(*arguments)
        tensors = (host.token_ids, host.positions, host.rows, host.mask)
        return ForwardInput(*map(there, tensors), host.length, host.n_tokens)


@dataclass
class Recording:
    """What was read, in order, and the text that came of it."""

    answers: list[np.ndarray] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)


@cache
def host_target() -> TargetModel:
    """A model that runs torch's operators on the host."""
    return TargetModel(library_model(seed=7), name="tiny-llama")


@cache
def profile() -> LoadedProfile:
    return tiny_profile(host_target())


def place_for(target: TargetModel, method: str, request: Request) -> Workplace:
    """For a text that is decoded as on a device."""
    mode: Mode = "greedy" if request.sampling.greedy else "sample"
    policy = build_policy(method, target, profile().cascade, mode, None, profile().recycling_matrix)
    cache = target.new_cache(len(PROMPT) + N_TOKENS + MAX_TREE_NODES)
    cache._words.clear()
    inputs = None if is_host(target.device) else FakeInputs(cache.capacity)
    return Workplace(target, policy, method, cache, inputs, StillClock())


def generated(place: Workplace, request: Request) -> list[int]:
    """The text, from the prefill to the end."""
    target, noise = place.target, None
    if not request.sampling.greedy:
        noise = GumbelNoise(request.seed or 0, target.vocab_size, target.device)
    session = Session(place, PROMPT, request, N_TOKENS, noise, Listener())
    while not session.is_over:
        session.step()
    return session.finish().token_ids


def recorded(method: str, options: dict[str, Any]) -> Recording:
    """A generation on the host, made as on a device."""
    recording, read, request = Recording(), transfers._read, Request.of(**options)

    def noted(answers: torch.Tensor) -> np.ndarray:
        recording.answers.append(read(answers).copy())
        return recording.answers[-1]

    with pytest.MonkeyPatch.context() as patch, torch.inference_mode():
        patch.setattr(sequence, "is_host", lambda device: False)
        patch.setattr(transfers, "_read", noted)
        recording.token_ids = generated(place_for(host_target(), method, request), request)
    return recording


class FakeDevice:
    """A device without numbers, that reads what was recorded.

    Attributes:
        guard: over all that runs. count: of forwards and reads.
    """

    def __init__(self, recording: Recording) -> None:
        self.guard, self.count = DeviceGuard(), ReadCount()
        self._answers = iter(recording.answers)

    def sent(self, host: torch.Tensor, device: torch.device) -> torch.Tensor:
        return torch.empty(host.shape, dtype=host.dtype, device=device)

    def read(self, answers: torch.Tensor) -> np.ndarray:
        self.count.read()
        found = next(self._answers)
        assert (tuple(answers.shape), answers.dtype) == (found.shape, torch.from_numpy(found).dtype)
        return found


@contextmanager
def on_fake_device(recording: Recording) -> Iterator[FakeDevice]:
    """Everything inside runs on a fake device, under its guard."""
    device = FakeDevice(recording)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transfers, "_sent", device.sent)
        patch.setattr(transfers, "_read", device.read)
        patch.setattr(torch.cuda, "synchronize", lambda *device: None)
        patch.setattr(torch.cuda, "get_device_capability", lambda *device: (9, 0))
        patch.setattr(torch.cuda, "mem_get_info", lambda *device: (1 << 40, 1 << 40))
        patch.setattr(lean, "special_linears", lambda layer: None)  # they are linears over fake tensors
        for name in ("forward", "fill", "advanced"):
            patch.setattr(TargetModel, name, counted(getattr(TargetModel, name), device.count))
        with cuda_can_be_current(), FakeTensorMode():
            yield device


def counted(run: Callable[..., torch.Tensor], count: ReadCount) -> Callable[..., torch.Tensor]:
    def counting(*arguments: Any) -> torch.Tensor:
        found = run(*arguments)
        if len(found):
            count.ran()
        return found

    return counting


def fake_target() -> TargetModel:
    """The model of recordings, on the fake device."""
    with _disable_current_modes():
        model = library_model(seed=7)
    for module in model.modules():
        for name, held in module._parameters.items():
            if held is not None:
                module._parameters[name] = torch.nn.Parameter(there(held), requires_grad=False)
        for name, buffer in module._buffers.items():
            module._buffers[name] = there(buffer)
    with catch_warnings(action="ignore"):  # of fake tensors without an address
        return TargetModel(model, name="tiny-llama")


def there(host: torch.Tensor) -> torch.Tensor:
    """A tensor of the same shape on the fake device."""
    return torch.empty(host.shape, dtype=host.dtype, device=CUDA)


def replayed(recording: Recording, method: str, options: dict[str, Any]) -> tuple[FakeDevice, list[int]]:
    """The recorded generation on the fake device, and its text. Raises Crossing."""
    request = Request.of(**options)
    with on_fake_device(recording) as device, torch.inference_mode():
        place = place_for(fake_target(), method, request)
        with device.guard:
            return device, generated(place, request)
