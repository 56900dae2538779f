"""Training steps: the learning rate over a training, and master weights more precise than the model."""

from __future__ import annotations

import copy

import pytest
import torch

from casspec.reference.optimizer import MasterOptimizer, learning_rate_factor


def test_learning_rate_rises_holds_and_falls():
    assert learning_rate_factor(0.0) == pytest.approx(0.02)
    assert learning_rate_factor(0.01) == pytest.approx(0.5)
    assert learning_rate_factor(0.3) == 1.0
    assert learning_rate_factor(0.75) == pytest.approx(0.51)
    assert learning_rate_factor(1.0) == pytest.approx(0.02)


def small_model(dtype: torch.dtype) -> torch.nn.Module:
    """A matrix among layers, which one optimizer steps, and one outside of them, which the other does."""
    torch.manual_seed(0)
    model = torch.nn.ModuleDict(
        {"embedding": torch.nn.Linear(8, 8), "layers": torch.nn.ModuleList([torch.nn.Linear(8, 8)])}
    )
    return torch.nn.ModuleDict({"model": model}).to(dtype)


def set_gradients(model: torch.nn.Module) -> None:
    for weight in model.parameters():
        weight.grad = torch.full_like(weight, 0.01)


def test_updates_too_small_for_the_models_precision_add_up_in_the_masters() -> None:
    model = small_model(torch.bfloat16)
    optimizer = MasterOptimizer(model)
    before = {name: master.clone() for name, master in optimizer.masters.items()}
    for _ in range(3):
        set_gradients(model)
        optimizer.step(0.0)
    for name, weight in model.named_parameters():
        assert not torch.equal(optimizer.masters[name], before[name])
        assert torch.equal(weight, optimizer.masters[name].to(torch.bfloat16))
        assert weight.grad is None


def test_a_saved_state_goes_on_with_the_same_steps() -> None:
    model, other = small_model(torch.float32), small_model(torch.float32)
    optimizer, resumed = MasterOptimizer(model), MasterOptimizer(other)
    set_gradients(model)
    optimizer.step(0.3)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for each, steps in ((model, optimizer), (other, resumed)):
        set_gradients(each)
        steps.step(0.4)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
