"""Quantised checkpoints: plain weights where a method is unpacked, the quantising library's own linears where it is not, else one line."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig

from casspec.runtime.decode import Decoder
from casspec.runtime.loading.checkpoints import quantised
from casspec.runtime.loading.checkpoints.quantised import (
    keeps_quantised,
    prepared,
    quantisation_of,
    quiet_methods,
    quiet_warnings,
)
from casspec.runtime.loading.fingerprint import weights_sha256
from casspec.runtime.loading.models import load_library_model, load_model
from casspec.storage.errors import UnsupportedModel
from tests.runtime.tiny import VOCAB, greedy, library_model

IDS = torch.randint(VOCAB, (1, 24), generator=torch.Generator().manual_seed(1))
SIZES = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "head_dim": 16}
BLOCK = 32


def config_of(entries: Any) -> Any:
    config = library_model().config
    config.quantization_config = entries
    return config


def written(model: Any, directory: Path, entries: dict[str, Any]) -> Path:
    """The checkpoint of a library model, its config with `quantization_config`."""
    model.save_pretrained(directory)
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | {"quantization_config": entries}))
    return directory


def fp8(directory: Path) -> tuple[Path, Any]:
    """A checkpoint of 8-bit floats with a scale a block, and the plain model of the same values in float32."""
    model = library_model(**SIZES).to(torch.bfloat16)
    written(model, directory, {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [BLOCK] * 2})
    weights, plain = load_file(directory / "model.safetensors"), {}
    for name in [name for name in weights if "proj" in name]:
        rows, columns = weights[name].shape
        blocks = weights[name].float().reshape(rows // BLOCK, BLOCK, columns // BLOCK, BLOCK)
        scales = blocks.abs().amax((1, 3)) / 448
        weights[name] = (blocks / scales[:, None, :, None]).reshape(rows, columns).to(torch.float8_e4m3fn)
        weights[f"{name}_scale_inv"] = scales
        values = weights[name].float().reshape(blocks.shape) * scales[:, None, :, None]
        plain[name] = values.reshape(rows, columns)
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    model = model.float()
    model.load_state_dict(plain, strict=False)
    return directory, model


def requantised(directory: Path, method: Any, dtype: torch.dtype = torch.float32) -> Path:
    """What the library writes of a model that it quantised."""
    library_model(**SIZES).save_pretrained(directory / "plain")
    model = AutoModelForCausalLM.from_pretrained(directory / "plain", quantization_config=method, dtype=dtype)
    model.save_pretrained(directory / "quantised")
    return directory / "quantised"


@pytest.mark.parametrize("dtype", ["auto", "float32"])
def test_8_bit_floats_are_unpacked_into_plain_weights_of_one_dtype(dtype: str, tmp_path: Path) -> None:
    directory, plain = fp8(tmp_path)
    target = load_model(directory, dtype=dtype)
    assert target.dtype_name == ("bfloat16" if dtype == "auto" else dtype)
    model = target.library_model
    assert not keeps_quantised(model)
    expected = plain.to(target.dtype).state_dict()  # rounded once
    assert all(torch.equal(parameter, expected[name]) for name, parameter in model.named_parameters())
    assert model(input_ids=IDS).logits.isfinite().all()


def test_compressed_tensors_are_unpacked_at_load_and_not_in_the_first_forward(tmp_path: Path) -> None:
    pytest.importorskip("compressed_tensors")
    directory = compressed(tmp_path)
    with torch.no_grad():
        lazily = AutoModelForCausalLM.from_pretrained(directory)
        expected = lazily(input_ids=IDS).logits
    target = load_model(directory)
    assert not keeps_quantised(target.library_model)
    torch.testing.assert_close(target.library_model(input_ids=IDS).logits, expected, rtol=1e-4, atol=1e-4)


def compressed(directory: Path) -> Path:
    """A checkpoint of 4-bit integers in groups, packed."""
    from compressed_tensors.compressors import ModelCompressor
    from compressed_tensors.quantization import QuantizationConfig, apply_quantization_config
    from compressed_tensors.quantization.utils import calculate_qparams

    weights = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32, "symmetric": True}
    entries = {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "ignore": ["lm_head"],
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}},
    }
    model = library_model(**SIZES)
    settings = QuantizationConfig(**entries, quantization_status="frozen")
    apply_quantization_config(model, settings)
    for module in model.modules():
        scheme = getattr(module, "quantization_scheme", None)
        if scheme is not None:
            groups = module.weight.reshape(module.weight.shape[0], -1, 32)
            module.weight_scale.data.copy_(calculate_qparams(groups.amin(-1), groups.amax(-1), scheme.weights)[0])
    ModelCompressor(quantization_config=settings).compress_model(model)
    return written(model, directory, entries | {"quantization_status": "compressed"})


def torchao_int8() -> Any:
    pytest.importorskip("torchao")
    from torchao.quantization import Int8WeightOnlyConfig
    from transformers import TorchAoConfig

    return TorchAoConfig(Int8WeightOnlyConfig())


def bitsandbytes_4_bit() -> Any:
    pytest.importorskip("bitsandbytes")
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)


def bitsandbytes_8_bit() -> Any:
    pytest.importorskip("bitsandbytes")
    return BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=0.0)


@pytest.mark.parametrize("method", [torchao_int8, bitsandbytes_4_bit, bitsandbytes_8_bit])
def test_a_method_that_is_not_unpacked_keeps_its_librarys_linears(method: Any, tmp_path: Path) -> None:
    directory = requantised(tmp_path, method())
    model, tokenizer = load_library_model(directory)
    assert tokenizer is None
    assert keeps_quantised(model)
    expected = AutoModelForCausalLM.from_pretrained(directory)
    with torch.no_grad():
        torch.testing.assert_close(model(input_ids=IDS).logits, expected(input_ids=IDS).logits)


@pytest.mark.parametrize("method", [torchao_int8, bitsandbytes_4_bit, bitsandbytes_8_bit])
def test_a_quantised_model_has_one_fingerprint_before_and_after_it_ran_and_another_with_another_scale(
    method: Any, tmp_path: Path
) -> None:
    directory = requantised(tmp_path, method())
    model, _ = load_library_model(directory)
    before = weights_sha256(model)
    with torch.no_grad():
        model(input_ids=IDS)
    assert weights_sha256(model) == before
    assert weights_sha256(load_library_model(directory)[0]) == before
    weights = load_file(directory / "model.safetensors")
    scale = next(name for name in sorted(weights) if name.endswith(("scale", "SCB", "weight.absmax")))
    weights[scale] += 1
    with_metadata(directory, weights)
    assert weights_sha256(load_library_model(directory)[0]) != before


def with_metadata(directory: Path, weights: dict[str, torch.Tensor]) -> None:
    """Writes weights over those of a file, with the metadata that stands there."""
    from safetensors import safe_open

    with safe_open(directory / "model.safetensors", "pt") as file:
        metadata = file.metadata()
    save_file(weights, directory / "model.safetensors", metadata=metadata)


def test_linears_that_round_a_token_by_those_beside_it_are_refused(tmp_path: Path) -> None:
    directory = requantised(tmp_path, bitsandbytes_8_bit())
    config = json.loads((directory / "config.json").read_text())
    config["quantization_config"]["llm_int8_threshold"] = 6.0
    (directory / "config.json").write_text(json.dumps(config))
    with pytest.raises(UnsupportedModel, match=r"llm_int8_threshold.*a threshold of 0"):
        load_model(directory)


@pytest.mark.parametrize("method", [torchao_int8, bitsandbytes_4_bit, bitsandbytes_8_bit])
def test_a_quantised_model_decodes_as_the_library_does(method: Any, tmp_path: Path) -> None:
    target = load_model(requantised(tmp_path, method()))
    assert target.backend == "generic"
    prompt = IDS[0].tolist()
    for name in ("autoregressive", "prompt-lookup", "token-recycling"):
        assert Decoder(target, None, name).generate(prompt, 16, temperature=0.0).token_ids == greedy(target, prompt, 16)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_is_not_quantised_is_in_the_dtype_asked_for(dtype: str, tmp_path: Path) -> None:
    directory = requantised(tmp_path, bitsandbytes_4_bit(), torch.bfloat16)
    model, _ = load_library_model(directory, dtype)
    assert model.get_input_embeddings().weight.dtype == model.model.norm.weight.dtype == getattr(torch, dtype)
    with torch.no_grad():
        assert model(input_ids=IDS).logits.isfinite().all()


@pytest.mark.parametrize(
    ("entries", "method"),
    [
        (None, None),
        ({"quant_method": "gptq", "bits": 4}, "gptq"),
        ({"load_in_4bit": True}, "bitsandbytes"),
        (BitsAndBytesConfig(load_in_8bit=True), "bitsandbytes"),
        ({}, "a method it does not name"),
        ("4 bits", "a method it does not name"),
    ],
)
def test_the_method_is_read_off_the_config(entries: Any, method: str | None) -> None:
    assert quantisation_of(config_of(entries)) == method


def test_a_method_that_nobody_here_reads_is_refused_and_not_passed_over(tmp_path: Path) -> None:
    directory = written(library_model(), tmp_path, {"quant_method": "own"})
    with pytest.raises(
        UnsupportedModel, match="are quantised by 'own', which is not supported; supported: awq"
    ) as error:
        load_model(directory)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("method", "command"),
    [
        ("gptq", "pip install gptqmodel optimum accelerate$"),
        ("awq", "pip install gptqmodel accelerate$"),
        ("torchao", "pip install torchao$"),
        ("compressed-tensors", "pip install compressed-tensors accelerate$"),
    ],
)
def test_a_missing_library_is_named_with_the_command_that_installs_it(
    method: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantised, "find_spec", lambda name: None)
    with pytest.raises(UnsupportedModel, match=command):
        prepared(config_of({"quant_method": method}), "here")


def test_a_plain_config_is_left_as_it_is() -> None:
    config = AutoConfig.for_model("llama")
    assert prepared(config, "here") is config
    assert not hasattr(config, "quantization_config")


def test_what_quantising_libraries_print_does_not_reach_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    with quiet_methods(config_of({"quant_method": "gptq"})):
        print("a banner")
    with quiet_methods(config_of(None)):
        print("a text")
    assert capsys.readouterr().out == "a text\n"
    assert logging.getLogger("bitsandbytes").level == logging.ERROR


def test_warnings_are_back_after_loading(caplog: pytest.LogCaptureFixture) -> None:
    with quiet_warnings():
        logging.getLogger("torchao").warning("a kernel is missing")
    logging.getLogger("torchao").warning("another")
    assert caplog.messages == ["another"]
