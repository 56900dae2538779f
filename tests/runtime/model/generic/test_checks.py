"""The checks at load pass what is the library's own to rounding, and refuse what a tree would be decoded wrongly by."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from casspec.runtime.model.generic.backend import GenericBackend
from casspec.runtime.model.generic.checks import check
from casspec.storage.errors import UnsupportedModel
from tests.runtime.tiny import library_model
from tests.runtime.tiny_families import FAMILIES, tiny_model

NAMES = [family.name for family in FAMILIES]


@pytest.mark.parametrize("name", NAMES)
def test_logits_in_texts_and_trees_are_the_librarys_own(name: str) -> None:
    model = tiny_model(name)
    backend = GenericBackend(model)
    found = check(backend, model)
    assert found.largest < 1e-4
    assert found.wrong > 100 * found.largest


@pytest.mark.parametrize("name", ["llama", "cohere", "gemma3_text", "mixtral", "gpt_oss", "deepseek_v3"])
def test_half_precision_passes_too(name: str) -> None:
    model = tiny_model(name).to(torch.bfloat16)
    found = check(GenericBackend(model), model)
    assert found.largest < found.wrong / 3


class Slotwise(nn.Module):
    """A rotary embedding that goes by slots, as a model would that ignores the positions it is told."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner
        self.seen = 0

    def forward(self, x: torch.Tensor, position_ids: torch.Tensor) -> Any:
        n = x.shape[1]
        start = 0 if int(position_ids[0, 0]) == 0 else self.seen
        self.seen = start + n
        return self.inner(x, torch.arange(start, start + n)[None])


def test_a_model_that_goes_by_slots_is_refused_with_what_was_measured() -> None:
    model = library_model()
    model.model.rotary_emb = Slotwise(model.model.rotary_emb)
    with pytest.raises(
        UnsupportedModel, match=r"does not say over a tree .* wrong positions give .*transformers' own generate"
    ):
        check(GenericBackend(model), model)


def test_a_model_that_does_not_run_is_refused_in_one_line() -> None:
    model = tiny_model("gpt2")
    model.transformer.wte.to(torch.bfloat16)
    with pytest.raises(UnsupportedModel, match=r"it does not run \(.*dtype.*generate$"):
        check(GenericBackend(model), model)


@pytest.mark.parametrize(
    ("name", "separable", "identity"),
    [("llama", True, True), ("gemma4_text", True, False), ("opt-post-norm", True, False), ("dbrx", False, False)],
)
def test_what_layers_do_without_sub_layers_is_found_out(name: str, separable: bool, identity: bool) -> None:
    model = tiny_model(name)
    backend = GenericBackend(model)
    check(backend, model)
    assert (backend.is_separable, backend.is_identity) == (separable, identity)
