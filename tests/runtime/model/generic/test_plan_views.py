"""Plans over one model are views of it, made once."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from casspec.runtime.model.generic.anatomy import anatomy_of
from casspec.runtime.model.generic.head import HeadAlone
from casspec.runtime.model.generic.plan_views import LayerTraits, PlanViews, silenced
from casspec.runtime.model.generic.views import Passing
from casspec.runtime.model.plan import Plan
from casspec.storage.schema import SkipSet
from tests.runtime.tiny_families import tiny_model

FULL = Plan.full(4).steps
WITHOUT_ONE = Plan.skipping(SkipSet(attention=(1,), mlp=(2, 3)), 4).steps


@pytest.fixture
def views() -> PlanViews:
    model = tiny_model("llama")
    anatomy = anatomy_of(model)
    return PlanViews(anatomy, HeadAlone.of(model, anatomy.path), LayerTraits())


def test_the_full_plan_is_the_body_and_others_are_made_once(views: PlanViews) -> None:
    assert views.body(FULL) is views.anatomy.body
    body = views.body(WITHOUT_ONE)
    assert body is views.body(WITHOUT_ONE) is not views.anatomy.body
    layers = body.layers
    assert layers[0] is views.anatomy.layers[0]
    assert layers[1].mlp is views.anatomy.layers[1].mlp
    assert layers[1].self_attn is not views.anatomy.layers[1].self_attn


def test_layers_that_cannot_be_parted_run_whole_or_not_at_all(views: PlanViews) -> None:
    views._traits.are_separable = False
    assert views.layer((1, True, False)) is views.anatomy.layers[1]
    assert isinstance(views.layer((1, False, False)), Passing)


def test_a_layer_that_does_something_by_itself_is_run_without_its_sub_layers(views: PlanViews) -> None:
    views._traits.are_identity = False
    assert not isinstance(views.layer((1, False, False)), Passing)


@torch.inference_mode()
def test_a_silenced_layer_gives_back_what_it_was_given(views: PlanViews) -> None:
    anatomy, x = views.anatomy, torch.randn(1, 3, 32)
    layer = silenced(anatomy.layers[0], anatomy.parts[0], False, False)
    torch.testing.assert_close(layer(x, position_embeddings=(x, x)), x)


def test_changed_views_share_what_is_known_of_the_layers(views: PlanViews) -> None:
    first = views.anatomy.layers[0].mlp.down_proj
    other = views.changed(lambda module: nn.Identity() if module is first else None)
    views._traits.are_separable = False
    assert isinstance(other.anatomy.layers[0].mlp.down_proj, nn.Identity)
    assert other.anatomy.layers[1] is views.anatomy.layers[1]
    assert other.layer((1, True, False)) is other.anatomy.layers[1]
