"""Rotary tables are the library's own cosines and sines, one table a kind of layer."""

from __future__ import annotations

import pytest
import torch

from casspec.runtime.model.lean.rotary import Rotary
from tests.runtime.tiny import library_model

PLACES = torch.arange(256)[None]


def test_layers_that_turn_alike_share_a_table() -> None:
    model = library_model("llama")
    found = Rotary.of(model)
    assert found.kinds == (0, 0, 0, 0)
    assert found.width == 8
    cos, sin = model.model.rotary_emb(torch.zeros(1), PLACES)
    torch.testing.assert_close(found.tables[0], torch.cat((cos[0, :, :4], sin[0, :, :4]), -1))


def test_types_of_layers_that_turn_otherwise_have_a_table_each() -> None:
    types = ["sliding_attention", "full_attention", "sliding_attention", "sliding_attention"]
    model = library_model("gemma3_text", layer_types=types)
    found = Rotary.of(model)
    assert found.kinds == (1, 0, 1, 1)
    for layer, name in enumerate(types):
        cos, sin = model.model.rotary_emb(torch.zeros(1), PLACES, name)
        table = found.tables[found.kinds[layer]]
        torch.testing.assert_close(table, torch.cat((cos[0, :, :4], sin[0, :, :4]), -1))
    assert not torch.equal(*found.tables)


@pytest.mark.parametrize(("share", "width"), [(1.0, 8), (0.5, 4)])
def test_a_part_of_a_head_may_be_turned(share: float, width: int) -> None:
    rope = {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": share}
    assert Rotary.of(library_model("phi3", rope_parameters=rope)).width == width
