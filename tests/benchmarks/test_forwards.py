"""The forward that is given to a compiler, and figures of several ways."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from benchmarks.forwards import EAGER, NATIVE, Whole, figures, main, ours, text
from casspec.runtime.model.inputs import InputBuffers
from casspec.runtime.model.target import TargetModel
from tests.runtime.tiny import library_model


@torch.inference_mode()
def test_the_function_for_the_compiler_is_the_model() -> None:
    model = library_model("llama", seed=3).eval()
    whole = Whole(model, 64).eval()
    target = TargetModel(model)
    cache = target.new_cache(64)
    buffers = InputBuffers(64, target.dtype, target.device)
    for start, n in ((0, 4), (4, 4), (8, 1)):
        inputs = text(buffers, target.vocab_size, start, n)
        expected = target.forward(inputs, cache, target.full_plan)[:n]
        found = whole(inputs.token_ids, inputs.positions, inputs.rows, inputs.mask)[:n]
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_a_way_of_ours_gives_the_rows_that_were_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    target = TargetModel(library_model("llama", seed=3))
    buffers = InputBuffers(256, target.dtype, target.device)
    assert ours(target)(text(buffers, target.vocab_size, 0, 3)).shape == (3, target.vocab_size)


def test_figures_are_medians_and_errors_are_of_the_eager_way() -> None:
    def way(name: str, times: list[float], logits: list[float]) -> Any:
        return SimpleNamespace(name=name, times={1: times}, first_s={1: 2.0}, logits={1: np.array([logits])})

    eager, native = figures([way(EAGER, [0.3, 0.1, 0.2], [4.0, 1.0]), way(NATIVE, [0.1], [4.0, 2.0])], [1])
    assert (eager.milliseconds, eager.least, eager.most, eager.error) == (200.0, 100.0, 300.0, 0.0)
    assert (native.milliseconds, native.error) == (100.0, 0.25)


def test_a_model_that_is_not_there_is_one_line() -> None:
    done = CliRunner().invoke(main, ["--model", "/nowhere", "--no-autotune"])
    assert done.exit_code == 1
    assert done.output.startswith("Error: ")
