"""The guard finds what it is for: reads, copies and indices planted in a step of a generation that passes without them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from casspec.runtime.decoding.device_search import DeviceSearch, ForwardRows, Said
from casspec.runtime.model.kv_cache import KVCache
from casspec.runtime.model.target import TargetModel
from tests.runtime.device.guard import Crossing
from tests.runtime.device.recorded import CUDA, N_TOKENS, Recording, fake_target, on_fake_device, recorded, replayed

METHOD, OPTIONS = "layer-sparse", {"max_new_tokens": N_TOKENS, "temperature": 0.8, "seed": 1}


@pytest.fixture(scope="module")
def recording() -> Recording:
    return recorded(METHOD, OPTIONS)


PLANTED: dict[str, tuple[str, Callable[[Tensor], Any]]] = {
    "an item": ("item", lambda logits: logits[0, 0].item()),
    "a list": ("item", lambda logits: logits[0].tolist()),
    "a truth value": ("is_nonzero", lambda logits: bool(logits[0, 0] > 0)),
    "a copy to the host": ("to", lambda logits: logits.cpu()),
    "a tensor of the host": ("to", lambda logits: torch.tensor([1, 2], device=logits.device)),
    "a tensor moved": ("to", lambda logits: torch.zeros(3).to(logits.device)),
    "an array moved": ("to", lambda logits: torch.from_numpy(np.zeros(3)).to(logits.device)),
    "a copy into the device": ("copy_", lambda logits: logits[:, :1].copy_(torch.zeros(1))),
    "a number at an index": ("copy_", lambda logits: logits[0].__setitem__(0, 5.0)),
    "an index by a list": ("to", lambda logits: logits[[0, 0]]),
    "an index of the host": ("index", lambda logits: logits[torch.tensor([0, 0])]),
    "a scalar of the host": ("mul", lambda logits: logits * torch.tensor(2.0)),
    "a search for places": ("nonzero", lambda logits: (logits > 0).nonzero()),
    "an index by truth values": ("index", lambda logits: logits[logits > 0]),
}


@pytest.mark.parametrize("name", PLANTED)
def test_what_is_planted_beside_a_forward_is_named(
    name: str, recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator, plant = PLANTED[name]
    search = DeviceSearch.drafted

    def planted(self: DeviceSearch, rows: ForwardRows, n: int, probabilities: bool = False) -> Said:
        plant(rows.logits)
        return search(self, rows, n, probabilities)

    monkeypatch.setattr(DeviceSearch, "drafted", planted)
    with pytest.raises(Crossing, match=rf"aten\.{operator}\b"):
        replayed(recording, METHOD, OPTIONS)


def test_a_second_read_of_a_forward_is_refused(recording: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = TargetModel.heard
    monkeypatch.setattr(TargetModel, "heard", lambda self, answers: (heard(self, answers), heard(self, answers))[1])
    with pytest.raises(Crossing, match="read twice"):
        replayed(recording, METHOD, OPTIONS)


def test_rows_moved_by_a_list_are_found(recording: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    def moved(self: KVCache, source: list[int], first: int) -> None:
        for keys, values in map(self.rows, range(self.n_layers)):
            for part in (keys, values):
                part[first : first + len(source)] = part[source]

    monkeypatch.setattr(KVCache, "move", moved)
    with on_fake_device(recording) as device:
        cache = fake_target().new_cache(64)
        with pytest.raises(Crossing, match=r"aten\._to_copy\b"), device.guard:
            cache.move([5, 7], 3)


def test_rows_are_moved_at_few_shapes(recording: Recording) -> None:
    with on_fake_device(recording) as device:
        cache = fake_target().new_cache(64)
        with device.guard:
            cache.move([5, 7, 8], 3)
    assert device.guard.operators["aten.index_copy_.default"] == 2


def test_work_on_one_side_passes() -> None:
    with on_fake_device(Recording()) as device, device.guard:
        there, here = torch.zeros(3, device=CUDA), torch.tensor(2.0)
        there.add_(1.0).mul_(2)[:2] = 5.0
        assert here.add(1).item() == 3
    assert device.guard.operators["aten.add_.Tensor"] == 1
