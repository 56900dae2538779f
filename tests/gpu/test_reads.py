"""A step waits for the device where it reads what a forward said, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from casspec.runtime.decode import Decoder
from casspec.runtime.model import transfers
from casspec.runtime.model.target import TargetModel
from casspec.runtime.policies import METHODS
from tests.runtime.tiny import library_model, repetitive_prompt, tiny_profile

N_TOKENS = 48
SAMPLINGS: tuple[dict[str, Any], ...] = (
    {},
    {"temperature": 0.7, "seed": 1},
    {"temperature": 1.0, "top_k": 6, "seed": 2},
    {"temperature": 1.0, "top_p": 0.8, "min_p": 0.02, "seed": 3},
)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Where else the host waits, torch raises an error. Gives the numbers read by each read."""
    sizes: list[int] = []
    read = transfers._read

    def allowed(answers: torch.Tensor) -> np.ndarray:
        mode = torch.cuda.get_sync_debug_mode()
        torch.cuda.set_sync_debug_mode("default")
        found = read(answers)
        torch.cuda.set_sync_debug_mode(mode)
        sizes.append(found.size)
        return found

    monkeypatch.setattr(transfers, "_read", allowed)
    yield sizes
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
@pytest.mark.parametrize("method", METHODS)
def test_a_step_waits_where_it_reads(method: str, sampling: dict[str, Any], reads: list[int]) -> None:
    target = TargetModel(library_model(seed=7).to("cuda"), name="tiny-llama")
    decoder = Decoder(target, tiny_profile(target), method)
    session = decoder.session(repetitive_prompt(40), max_new_tokens=N_TOKENS, **sampling)
    reads.clear()
    with torch.inference_mode():
        while not session.is_over:
            torch.cuda.set_sync_debug_mode("error")
            session.step()
            torch.cuda.set_sync_debug_mode("default")
    statistics = session.finish().statistics
    assert len(reads) >= statistics.verify_steps
    if method == "autoregressive":
        assert len(reads) == statistics.verify_steps


@pytest.mark.parametrize("n", [1, 7, 1000])
def test_what_is_read_is_what_was_sent(n: int) -> None:
    numbers = list(range(n))
    sent = transfers.to_device(numbers, torch.device("cuda"))
    assert transfers.to_host(sent * 2).tolist() == [2 * number for number in numbers]


def test_numbers_sent_one_after_the_other_do_not_overwrite_each_other() -> None:
    device = torch.device("cuda")
    sent = [transfers.to_device([number] * 4096, device) for number in range(200)]
    assert [int(transfers.to_host(one.sum())) for one in sent] == [4096 * number for number in range(200)]
