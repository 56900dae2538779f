"""The testbed made where it runs computes what the one on disk does, and added layers change nothing."""

from __future__ import annotations

import pytest
import torch
from safetensors import safe_open

from benchmarks.gpu import wide_model as made
from benchmarks.gpu.wide_model import added_layers, config_of, wide_model
from casspec.reference import WEIGHTS_FILE, reference_path
from casspec.runtime.decode import Decoder
from casspec.runtime.model.target import TargetModel
from casspec.storage.errors import UnknownModel, UnsupportedOption
from casspec.testbed import wide_shapes, widened

HIDDEN = 320


@pytest.fixture(scope="module")
def wide() -> TargetModel:
    return wide_model(config_of(HIDDEN, None), "cpu")


def test_its_weights_are_those_of_the_testbed_on_disk(wide: TargetModel) -> None:
    config = config_of(HIDDEN, None)
    with safe_open(reference_path() / WEIGHTS_FILE, framework="pt") as reference:
        for name, shape in wide_shapes(config).items():
            expected = widened(name, reference.get_tensor(name), shape).to(torch.bfloat16)
            assert torch.equal(wide.library_model.get_parameter(name), expected), name
    assert (wide.name, wide.dtype, wide.n_layers) == (f"testbed:{HIDDEN}", torch.bfloat16, 12)
    assert wide.fingerprint is not None


def test_added_layers_change_no_text_and_read_their_weights(wide: TargetModel) -> None:
    config = config_of(HIDDEN, 14)
    deep = wide_model(config, "cpu")
    assert (added_layers(config), deep.n_layers) == (2, 14)
    prompt = wide.tokenizer("def read(self, path):\n")["input_ids"]
    texts = [Decoder(target, method="autoregressive").generate(prompt, 24).token_ids for target in (wide, deep)]
    assert texts[0] == texts[1]
    with torch.inference_mode():
        ids = torch.tensor([prompt])
        assert torch.equal(wide.library_model(ids).logits, deep.library_model(ids).logits)
    added = deep.library_model.model.layers[13]
    assert all(weight.float().std() > 0 for weight in (added.mlp.up_proj.weight, added.self_attn.o_proj.weight))


@pytest.mark.parametrize(("width", "layers", "error"), [(256, None, UnknownModel), (HIDDEN, 11, UnsupportedOption)])
def test_what_cannot_be_made_is_refused(width: int, layers: int | None, error: type[Exception]) -> None:
    with pytest.raises(error, match="expected"):
        config_of(width, layers)


def test_a_device_without_room_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (10**9, 10**10))
    with pytest.raises(UnsupportedOption, match=r"takes 4\.9 GB and 1\.0 GB of the device are free"):
        made._check_room(config_of(4096, None), "cuda")
