"""Fused weights: views of the library's own, and only of plain linears."""

from __future__ import annotations

import pytest
import torch

from casspec.runtime.model.target import TargetModel
from casspec.storage.errors import UnsupportedModel
from tests.runtime.tiny import library_model


def test_linears_that_are_not_plain_are_refused() -> None:
    class Adapted(torch.nn.Linear):
        pass

    model = library_model()
    projection = model.model.layers[1].mlp.up_proj
    model.model.layers[1].mlp.up_proj = Adapted(projection.in_features, projection.out_features, bias=False)
    with pytest.raises(UnsupportedModel, match="up_proj is a Adapted"):
        TargetModel(model)
