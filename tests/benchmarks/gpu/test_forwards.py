"""The ways that forwards can run."""

from __future__ import annotations

import pytest
import torch

from benchmarks.gpu import forwards
from benchmarks.gpu.forwards import HOLDER, available, graphs_refusal, with_graphs
from casspec.runtime.decode import Decoder
from casspec.runtime.model.target import TargetModel

CAPTURES = object()


@pytest.fixture
def captured(target: TargetModel, monkeypatch: pytest.MonkeyPatch) -> TargetModel:
    """A model on a CUDA device whose forwards are captured, as far as the switch looks."""
    monkeypatch.setattr(target.lean, HOLDER, CAPTURES, raising=False)
    monkeypatch.setattr(target, "device", torch.device("cuda"))
    return target


def holder(target: TargetModel) -> object:
    return getattr(target.lean, HOLDER)


def test_a_processor_has_no_graphs_and_says_so(target: TargetModel) -> None:
    assert graphs_refusal(target) == "CUDA graphs are of CUDA, and this is cpu"
    assert available(target) == ["eager"]


def test_a_model_whose_forwards_are_captured_runs_both_ways(captured: TargetModel) -> None:
    assert graphs_refusal(captured) is None
    assert available(captured) == ["eager", "graphs"]


def test_a_device_without_captures_says_so(captured: TargetModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captured.lean, HOLDER, None)
    assert forwards.available(captured) == ["eager"]
    assert "not captured" in (graphs_refusal(captured) or "")


def test_what_was_captured_is_put_aside_and_kept(captured: TargetModel) -> None:
    with with_graphs(captured, True):
        assert holder(captured) is CAPTURES
        with with_graphs(captured, False):
            assert holder(captured) is None
    with pytest.raises(KeyError), with_graphs(captured, False):
        raise KeyError
    assert holder(captured) is CAPTURES


def test_the_switch_changes_no_text(target: TargetModel) -> None:
    texts = []
    for on in (False, True):
        with with_graphs(target, on):
            texts.append(Decoder(target).generate([1, 2, 3], 12).token_ids)
    assert texts[0] == texts[1]
