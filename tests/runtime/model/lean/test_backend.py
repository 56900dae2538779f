"""The lean backend says what its parts cost, and hands a library model its weights back."""

from __future__ import annotations

import pytest
import torch

from casspec.runtime.model.lean.backend import LeanBackend, lean_refusal
from casspec.storage.schema import Precision
from tests.runtime.model.graphs.recording import RecordingGraphs
from tests.runtime.tiny import library_model


def linear_numbers(model: torch.nn.Module, part: str) -> int:
    """Of the weights of a part's linears, over all layers."""
    found = [weight.numel() for name, weight in model.named_parameters() if f".{part}." in name and weight.ndim == 2]
    assert found
    return sum(found)


@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_the_bytes_of_sub_layers_are_those_of_their_linears(family: str) -> None:
    model = library_model(family)
    backend = LeanBackend(model)
    costs, n_layers = backend.costs(), len(backend.layer_rows)
    assert costs["attention_bytes"] * n_layers == 4 * linear_numbers(model, "self_attn")
    assert costs["mlp_bytes"] * n_layers == 4 * linear_numbers(model, "mlp")
    assert costs["mlp_operations"] * n_layers == 2 * linear_numbers(model, "mlp")
    assert costs["head_bytes"] == 4 * model.lm_head.weight.numel()
    assert costs["row_bytes"] == 4 * backend.layer_rows[0].numbers


def test_weights_that_were_let_go_come_back() -> None:
    model = library_model()
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    backend = LeanBackend(model, pack=True, owned=True)
    if not backend.is_native:
        pytest.skip("no native forward here")
    backend.restore(model)
    assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())


def test_a_precision_that_was_released_is_packed_again() -> None:
    backend = LeanBackend(library_model(), pack=True)
    if backend.refusal(Precision.INT8_DYNAMIC):
        pytest.skip("no kernel runs it here")
    backend.prepare(Precision.INT8_DYNAMIC)
    assert backend.is_prepared(Precision.INT8_DYNAMIC)
    backend.release(Precision.INT8_DYNAMIC)
    assert not backend.is_prepared(Precision.INT8_DYNAMIC)
    backend.release(Precision.TARGET)
    assert backend.is_prepared(Precision.TARGET)


def test_a_model_without_a_head_or_wrapped_is_refused() -> None:
    model = library_model()
    wrapped = torch.nn.Module()
    wrapped.config, wrapped.model = model.config, model
    assert lean_refusal(model) is None
    for other in (model.model, wrapped):
        assert "has no layers and head where the library's llama has them" in str(lean_refusal(other))


def test_a_processor_captures_nothing_and_says_so() -> None:
    backend = LeanBackend(library_model())
    backend.capture(True)
    backend.reserve(1 << 20)
    assert (backend.is_captured, backend.graphs) == (False, None)
    assert backend.graphs_refusal == "cpu is no CUDA device"


def test_capturing_is_switched_and_what_was_captured_is_kept() -> None:
    backend = LeanBackend(library_model())
    backend.capture_with(RecordingGraphs)
    graphs = backend.graphs
    for on in (False, True):
        backend.capture(on)
        assert (backend.is_captured, backend.graphs is graphs, backend.graphs_refusal) == (on, True, None)
