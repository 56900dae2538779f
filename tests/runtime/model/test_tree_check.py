"""A backend's errors over a tree are small where it is right, and the limit tells right from wrong in every precision."""

from __future__ import annotations

import dataclasses
from math import nan

import pytest
import torch

from casspec.runtime.model.target import TargetModel
from casspec.runtime.model.tree_check import TreeErrors
from tests.runtime.tiny import library_model
from tests.runtime.tiny_families import tiny_model


@pytest.mark.parametrize("backend", ["lean", "generic"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_both_backends_pass_in_any_precision(backend: str, dtype: torch.dtype) -> None:
    target = TargetModel(library_model("qwen3").to(dtype), backend=backend)  # type: ignore[arg-type]
    errors = target.tree_errors()
    assert errors.are_small
    assert errors.limit >= errors.wrong / 3
    assert errors.largest < (1e-5 if dtype is torch.float32 else 1e-2)


def test_packed_weights_that_were_let_go_are_compared_too() -> None:
    target = TargetModel(library_model(), pack=True, owned=True)
    assert target.tree_errors().are_small


def test_a_context_shorter_than_the_usual_prompt_is_filled() -> None:
    assert TargetModel(tiny_model("llama-dynamic")).tree_errors().are_small


@pytest.mark.parametrize("part", ["plain", "tree", "moved"])
@pytest.mark.parametrize("error", [0.04, nan])
def test_one_large_error_is_enough(part: str, error: float) -> None:
    small = TreeErrors(1e-3, 1e-3, 1e-3, 0.1, 0.1 / 3)
    assert small.are_small
    worse = dataclasses.replace(small, **{part: error})
    assert not worse.are_small or part != "plain"
