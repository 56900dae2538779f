"""Views share every parameter with their model, and leave it as it is."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from casspec.runtime.model.generic.views import (
    Call,
    Giving,
    OutputForm,
    Passing,
    Recording,
    Watched,
    Zeros,
    changed,
    copied,
    first_tensor,
    with_module,
)

X = torch.randn(1, 3, 4, generator=torch.Generator().manual_seed(0))


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(4, 4), nn.Linear(4, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.left(x).sum(-1) + self.right(x).sum(-1)


def form(returned: object) -> OutputForm:
    found = OutputForm.of(returned)
    assert found is not None
    return found


def test_a_copy_has_other_children_and_the_same_parameters() -> None:
    pair = Pair()
    before, children = pair(X), list(pair.children())
    view = copied(pair, {"right": Zeros(pair.right, form(pair.right(X)))})
    assert torch.equal(view(X), pair.left(X).sum(-1))
    assert view.left is pair.left
    assert torch.equal(pair(X), before)
    assert list(pair.children()) == children


def test_a_module_deep_inside_is_replaced_along_copies_alone() -> None:
    root = nn.Sequential(nn.Sequential(nn.Identity(), nn.ReLU()), nn.Identity())
    view = with_module(root, ("0", "1"), nn.Tanh())
    assert torch.equal(view(X), X.tanh())
    assert torch.equal(root(X), X.relu())
    assert view[1] is root[1]


def test_modules_are_changed_wherever_they_stand_and_the_rest_is_shared() -> None:
    shared = nn.ReLU()
    root = nn.Sequential(nn.Sequential(shared, nn.Identity()), shared, nn.Sequential(nn.Identity()))
    asked: list[nn.Module] = []

    def change(module: nn.Module) -> nn.Module | None:
        asked.append(module)
        return nn.Tanh() if module is shared else None

    view = changed(root, change)
    assert torch.equal(view(X), X.tanh().tanh())
    assert view[0][0] is view[1]
    assert view[2] is root[2]
    assert asked.count(shared) == 1
    assert torch.equal(root(X), X.relu())
    assert changed(root, lambda _: None) is root


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: (x,), lambda x: (x, None, x[0])], ids=["bare", "one", "three"])
def test_zeros_have_the_form_of_what_they_stand_for(wrap: object) -> None:
    returned = wrap(X)  # type: ignore[operator]
    other = torch.randn(2, 5, 4)
    zeros = Zeros(nn.Identity(), form(returned))(hidden_states=other, mask=None)
    assert type(zeros) is type(returned)
    first = zeros[0] if isinstance(zeros, tuple) else zeros
    assert torch.equal(first, torch.zeros_like(other))
    if isinstance(returned, tuple):
        assert [part is None for part in zeros] == [part is None for part in returned]


def test_only_numbers_have_a_form() -> None:
    assert OutputForm.of(None) is None
    assert OutputForm.of((None, X)) is None
    assert OutputForm.of(torch.ones(2, dtype=torch.int64)) is None


def test_a_stand_in_has_the_attributes_of_its_module() -> None:
    linear = nn.Linear(4, 6)
    passing = Passing(linear, form(X))
    assert passing.out_features == 6
    assert list(passing.parameters()) == []
    assert torch.equal(passing(X, 1, two=2), X)
    with pytest.raises(AttributeError):
        passing.nothing  # noqa: B018


def test_a_call_is_noted_and_made_again_with_other_numbers() -> None:
    calls: list[Call] = []
    recording = Recording(nn.Identity(), form((X, None)), calls)
    assert torch.equal(recording(X, 2, mask=None)[0], X)
    recording(hidden_states=X, scale=2)

    class Layer(nn.Module):
        def forward(self, hidden_states: torch.Tensor, scale: int = 1, mask: None = None) -> tuple[torch.Tensor]:
            return (hidden_states * scale,)

    assert [torch.equal(call(Layer(), X + 1), 2 * (X + 1)) for call in calls] == [True, True]
    assert torch.equal(calls[1].hidden, X)
    assert [tensor is X for tensor in calls[0].tensors] == [True]


def test_numbers_are_given_whatever_is_asked() -> None:
    assert torch.equal(Giving(nn.Identity(), form((X,)), X + 1)(X)[0], X + 1)


def test_a_watched_module_runs_between_two_notes() -> None:
    notes: list[str] = []
    watched = Watched(nn.ReLU(), lambda: notes.append("before"), lambda out: notes.append(f"after {out.shape[-1]}"))
    assert torch.equal(watched(X), X.relu())
    assert notes == ["before", "after 4"]


def test_a_call_without_a_tensor_is_an_error() -> None:
    with pytest.raises(TypeError, match="without a tensor"):
        first_tensor((1, None), {"x": "y"})
