"""What only a CUDA device can show: the same text as on the CPU in float32, half precision that runs, the same noise bits."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import casspec
from casspec.runtime.decode import Decoder
from casspec.runtime.decoding.noise import GumbelNoise, mix_words
from casspec.runtime.model.lean.quantization import KERNELS, extra_bytes
from casspec.runtime.model.target import TargetModel
from casspec.runtime.policies import METHODS
from casspec.storage.errors import ProfileMismatch
from casspec.storage.schema import Precision
from tests.runtime.tiny import FAMILIES, VOCAB, library_model, repetitive_prompt, tiny_profile

SAMPLINGS: tuple[dict[str, Any], ...] = (
    {},
    {"temperature": 0.7, "seed": 1},
    {"temperature": 1.0, "top_k": 6, "seed": 2},
    {"temperature": 1.0, "top_p": 0.8, "seed": 3},
)


def target_on(device: str, family: str = "llama", dtype: torch.dtype = torch.float32) -> TargetModel:
    return TargetModel(library_model(family, seed=7).to(device, dtype), name=f"tiny-{family}")


@pytest.fixture(autouse=True)
def full_float32() -> None:
    """Shortened mantissas (TF32) would make float32 mean something else than on the CPU."""
    torch.backends.cuda.matmul.allow_tf32 = False


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_writes_the_text_of_the_cpu(family: str, method: str) -> None:
    on_cpu = Decoder(target_on("cpu", family), method="autoregressive")
    target = target_on("cuda", family)
    for profile in (None, tiny_profile(target)):
        decoder = Decoder(target, profile, method)
        for sampling in SAMPLINGS:
            for seed, n in ((0, 20), (1, 50)):
                prompt = repetitive_prompt(n, seed)
                expected = on_cpu.generate(prompt, 48, **sampling).token_ids
                generation = decoder.generate(prompt, 48, **sampling)
                assert generation.token_ids == expected
                statistics = generation.statistics
                assert statistics.verify_ms > 0
                assert statistics.decode_ms >= statistics.draft_ms


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("method", METHODS)
def test_half_precision_decodes(method: str, dtype: torch.dtype) -> None:
    """Texts may differ at near ties; they are whole, finite and reproducible all the same."""
    target = target_on("cuda", dtype=dtype)
    decoder = Decoder(target, tiny_profile(target), method)
    for sampling in SAMPLINGS:
        texts = [decoder.generate(repetitive_prompt(40), 64, **sampling).token_ids for _ in range(2)]
        assert texts[0] == texts[1]
        assert len(texts[0]) == 64
        assert all(0 <= token < VOCAB for token in texts[0])


def test_noise_has_the_same_bits_on_every_device() -> None:
    words = torch.randint(-(2**63), 2**63 - 1, (100_000,), generator=torch.Generator().manual_seed(0))
    assert torch.equal(mix_words(words.cuda()).cpu(), mix_words(words.clone()))


def test_noise_differs_by_rounding_of_the_logarithm_only() -> None:
    here, there = GumbelNoise(9, 5000).rows(3, 40), GumbelNoise(9, 5000, "cuda").rows(3, 40).cpu()
    torch.testing.assert_close(here, there, rtol=1e-5, atol=1e-5)


def test_host_rows_are_those_of_the_device_but_for_rounding() -> None:
    noise = GumbelNoise(9, 100, "cuda")
    here = torch.tensor([row.of(range(100)) for row in noise.host_rows(4, 20)])
    torch.testing.assert_close(here, noise.rows(4, 20).cpu(), rtol=1e-5, atol=1e-5)


def test_a_profile_of_the_cpu_is_refused() -> None:
    profile = tiny_profile(target_on("cpu"))
    with pytest.raises(ProfileMismatch, match=r"\(cpu\)"):
        Decoder(target_on("cuda"), profile)


def test_the_bridge_follows_a_model_that_moves_between_devices() -> None:
    model, custom = library_model(seed=7), casspec.custom_generate()
    prompt = torch.tensor([repetitive_prompt(30)])
    expected = model.generate(prompt, max_new_tokens=16, do_sample=False)
    for device in ("cpu", "cuda", "cpu"):
        ids = model.to(device).generate(prompt.to(device), max_new_tokens=16, do_sample=False, custom_generate=custom)
        assert ids.device.type == device
        assert torch.equal(ids.cpu(), expected)


def test_the_reference_model_loads_on_the_device() -> None:
    target = casspec.load_target("reference", device="cuda", dtype="bfloat16")
    prompt = target.tokenizer.encode("class Point:\n    def __init__(self, x, y):\n")
    generation = Decoder(target).generate(prompt, 64)
    assert target.device.type == "cuda"
    assert generation.statistics.mean_acceptance_length > 1


@torch.inference_mode()
@pytest.mark.parametrize("precision", [Precision.INT8_DYNAMIC, Precision.INT4_WEIGHT])
@pytest.mark.parametrize("rows", [1, 7, 40])
def test_a_quantised_linear_is_near_the_float_one(precision: Precision, rows: int) -> None:
    target = TargetModel(library_model(hidden_size=128, intermediate_size=256).to("cuda", torch.bfloat16))
    reason = target.refusal(precision)
    if reason:
        pytest.skip(reason)
    kernel, weight = KERNELS["cuda", precision], target.lean.weights.layers[0].gate_up
    x = torch.randn(rows, 128, device="cuda", dtype=torch.bfloat16)
    found, expected = kernel.linear(x, kernel.pack(weight), None), torch.nn.functional.linear(x, weight)
    assert (found - expected).norm() / expected.norm() < 0.15


@pytest.mark.parametrize("precision", [Precision.INT8_DYNAMIC, Precision.INT4_WEIGHT])
def test_packed_weights_take_what_was_said(precision: Precision) -> None:
    target = TargetModel(library_model(hidden_size=1024, intermediate_size=2048).to("cuda", torch.bfloat16))
    reason = target.refusal(precision)
    if reason:
        pytest.skip(reason)
    before = torch.cuda.memory_allocated()
    target.prepare(precision)
    assert torch.cuda.memory_allocated() - before == pytest.approx(
        extra_bytes(target.lean.weights, precision), rel=0.02
    )
