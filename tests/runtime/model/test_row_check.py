"""What is found out about a model's rows is true of its forwards, and is found out once."""

from __future__ import annotations

import pytest
import torch

from casspec.runtime.model import row_check
from casspec.runtime.model.plan import Plan
from casspec.runtime.model.row_check import rows_are_independent
from casspec.runtime.model.target import BackendChoice, TargetModel
from tests.runtime.tiny import library_model


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("family", ["llama", "mistral", "gemma3_text"])
def test_rows_of_packed_weights_are_independent(family: str, dtype: torch.dtype) -> None:
    assert rows_are_independent(TargetModel(library_model(family).to(dtype), pack=True))


def test_a_model_whose_rows_change_with_their_neighbours_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    target = TargetModel(library_model(), pack=True)
    read = TargetModel.read

    def uneven(self: TargetModel, hidden: torch.Tensor) -> torch.Tensor:
        return read(self, hidden) + 1e-6 * (len(hidden) == 5)

    monkeypatch.setattr(TargetModel, "read", uneven)
    assert not rows_are_independent(target)


def test_slots_that_matter_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    target = TargetModel(library_model(), pack=True)
    run = row_check._hidden

    def uneven(target: TargetModel, plan: object, tokens: list[int], cuts: list[int], slots: list[int]) -> torch.Tensor:
        return run(target, plan, tokens, cuts, slots) + 1e-6 * (max(slots) >= len(tokens))

    monkeypatch.setattr(row_check, "_hidden", uneven)
    assert not rows_are_independent(target)


def test_it_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    target = TargetModel(library_model(), pack=True)
    first = rows_are_independent(target)
    monkeypatch.setattr(row_check, "_measured", lambda target: not first)
    assert rows_are_independent(target) is first


@pytest.mark.parametrize("backend", ["lean", "generic"])
def test_of_the_librarys_layers_all_are_looked_at(backend: BackendChoice, monkeypatch: pytest.MonkeyPatch) -> None:
    target = TargetModel(library_model(), backend=backend)

    def uneven(target: TargetModel, plan: Plan, tokens: list[int], cuts: list[int], slots: list[int]) -> torch.Tensor:
        is_late = len(plan.steps) > row_check.LAYERS
        return torch.full((len(tokens), target.hidden_size), float(is_late and len(cuts) > 1))

    monkeypatch.setattr(row_check, "_hidden", uneven)
    monkeypatch.setattr(TargetModel, "read", lambda self, hidden: hidden)
    assert rows_are_independent(target) == (backend == "lean")
