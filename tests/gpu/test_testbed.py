"""A testbed whose random weights come from the device."""

from __future__ import annotations

import pytest
import torch

import casspec
from benchmarks.gpu import wide_model as made
from casspec.runtime.model.target import TargetModel

HIDDEN = 512
TEXT = "def read(self, path):\n    with open(path) as file:\n        return {'name': file.name, "


@torch.inference_mode()
def logits(target: TargetModel) -> torch.Tensor:
    ids = torch.tensor([target.tokenizer(TEXT)["input_ids"]], device="cuda")
    return target.library_model(ids).logits[0]


def test_it_computes_the_references_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    monkeypatch.setattr(made, "DTYPE", torch.float32)
    wide = made.wide_model(made.config_of(HIDDEN, None), "cuda")
    expected = logits(casspec.load_target("reference", device="cuda", dtype="float32"))
    assert (logits(wide) - expected).abs().max() < 1e-3


def test_added_weights_have_the_spread_of_the_real_ones() -> None:
    linear = made.wide_model(made.config_of(HIDDEN, None), "cuda").library_model.model.layers[5].mlp.down_proj
    rows, columns = (size // 2 for size in linear.weight.shape)
    real, added = linear.weight[:rows, :columns].float(), linear.weight[rows:, columns:].float()
    assert float(added.std()) == pytest.approx(float(real.std()), rel=0.02)
