"""LoRA adapters are merged whole or refused in one line: the merged model has the logits of the library's own model with the adapter."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from casspec.runtime.decode import Decoder
from casspec.runtime.loading.checkpoints.adapters import CONFIG, PICKLE, WEIGHTS, merged, open_adapter
from casspec.runtime.loading.fingerprint import model_fingerprint
from casspec.runtime.loading.models import load_model
from casspec.storage.errors import CasspecError, UnknownModel, UnsupportedModel
from tests.runtime.tiny import VOCAB, library_model

peft = pytest.importorskip("peft")

IDS = torch.randint(VOCAB, (1, 24), generator=torch.Generator().manual_seed(1))


def with_adapter(directory: Path, family: str = "llama", seed: int = 1, **settings: Any) -> Any:
    """peft's model of a random LoRA, saved in `directory`."""
    torch.manual_seed(seed)
    usual: dict[str, Any] = {
        "r": 4,
        "lora_alpha": 8,
        "target_modules": ["q_proj", "up_proj"],
        "init_lora_weights": False,
    }
    model = peft.get_peft_model(library_model(family), peft.LoraConfig(**usual | settings))
    model.save_pretrained(directory)
    return model.eval()


@pytest.fixture
def base(tmp_path: Path) -> Path:
    library_model().save_pretrained(tmp_path / "base")
    return tmp_path / "base"


@pytest.fixture
def lora(tmp_path: Path) -> Path:
    with_adapter(tmp_path / "lora")
    return tmp_path / "lora"


def changed(directory: Path, **entries: Any) -> Path:
    config = json.loads((directory / CONFIG).read_text())
    (directory / CONFIG).write_text(json.dumps(config | entries))
    return directory


def refusal(adapter: Path, base: Path) -> CasspecError:
    with pytest.raises(CasspecError) as error:
        load_model(base, adapter=adapter)
    assert "\n" not in str(error.value)
    return error.value


@pytest.mark.parametrize("changed_end", ["embed_tokens", "lm_head"])
def test_a_lora_of_one_end_of_a_tied_model_is_refused(changed_end: str, tmp_path: Path) -> None:
    library_model(tie_word_embeddings=True).save_pretrained(tmp_path / "base")
    tied = library_model(tie_word_embeddings=True)
    config = peft.LoraConfig(r=4, target_modules=["q_proj", changed_end], init_lora_weights=False)
    peft.get_peft_model(tied, config).save_pretrained(tmp_path / "lora")
    assert "they are one weight" in str(refusal(tmp_path / "lora", tmp_path / "base"))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"use_rslora": True},
        {"use_dora": True},
        {"bias": "lora_only"},
        {"modules_to_save": ["lm_head"]},
        {"modules_to_save": ["embed_tokens"]},
        {"trainable_token_indices": [1, 2]},
        {"target_modules": "all-linear"},
    ],
    ids=str,
)
@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_a_merged_adapter_has_the_logits_of_the_model_with_it(
    family: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    expected = with_adapter(tmp_path / "lora", family, **settings)(input_ids=IDS).logits
    base = library_model(family)
    before = base(input_ids=IDS).logits
    model = merged(base, open_adapter(tmp_path / "lora"), "base")
    assert type(model) is type(library_model(family))
    torch.testing.assert_close(model(input_ids=IDS).logits, expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(before, expected, atol=1e-2)


def test_a_model_with_an_adapter_is_another_model_of_the_same_config(base: Path, lora: Path) -> None:
    target = load_model(base, adapter=lora)
    assert target.name == f"{base} + {lora}"
    plain, found = model_fingerprint(load_model(base)), model_fingerprint(target)
    assert found.weights_sha256 != plain.weights_sha256
    assert found.config_sha256 == plain.config_sha256
    assert model_fingerprint(load_model(base, adapter=lora)) == found


def test_a_small_change_of_few_weights_shows_in_the_fingerprint_in_bfloat16(base: Path, tmp_path: Path) -> None:
    with_adapter(tmp_path / "lora", target_modules=["q_proj"], layers_to_transform=[2], lora_alpha=1)
    weights = [load_model(base, dtype="bfloat16", adapter=adapter).fingerprint for adapter in (None, tmp_path / "lora")]
    assert weights[0] != weights[1]


def test_the_merged_model_decodes_like_the_library(base: Path, lora: Path) -> None:
    target = load_model(base, adapter=lora)
    with torch.inference_mode():
        expected = with_adapter(lora).generate(input_ids=IDS, max_new_tokens=12, do_sample=False)
    generation = Decoder(target, None, "prompt-lookup").generate(IDS[0].tolist(), max_new_tokens=12, temperature=0.0)
    assert generation.token_ids == expected[0, IDS.shape[1] :].tolist()


def test_what_is_no_adapter_is_told(base: Path, lora: Path, tmp_path: Path) -> None:
    assert "there is no directory" in str(refusal(tmp_path / "nowhere", base))
    assert "there is no adapter_config.json" in str(refusal(base, base))
    assert "is an adapter of type IA3" in str(refusal(changed(lora, peft_type="IA3"), base))
    (lora / CONFIG).write_text("{}")
    assert "does not say what the adapter is" in str(refusal(lora, base))
    (lora / CONFIG).write_text("{")
    assert isinstance(refusal(lora, base), UnknownModel)


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ({"alora_invocation_tokens": [1]}, "switched on by tokens of the prompt"),
        ({"layer_replication": [[0, 2], [1, 4]]}, "repeats layers"),
        ({"init_lora_weights": "pissa_niter_4"}, "its initialisation changed (pissa_niter_4)"),
    ],
)
def test_a_lora_that_is_no_change_of_weights_is_refused(
    entries: dict[str, Any], reason: str, base: Path, lora: Path
) -> None:
    assert reason in str(refusal(changed(lora, **entries), base))


@pytest.mark.parametrize("entries", [{"r": "four"}, {"target_modules": 5}, {"rank_pattern": {"(": 3}}], ids=str)
def test_settings_that_peft_fails_at_are_told_in_one_line(entries: dict[str, Any], lora: Path, base: Path) -> None:
    assert "was not made for" in str(refusal(changed(lora, **entries), base))


def test_a_base_whose_name_is_no_text_is_passed_over(lora: Path, base: Path) -> None:
    assert load_model(base, adapter=changed(lora, base_model_name_or_path=5)).name.endswith("lora")


def test_pickled_missing_and_damaged_weights_are_refused(base: Path, lora: Path) -> None:
    whole = (lora / WEIGHTS).read_bytes()
    (lora / WEIGHTS).write_bytes(whole[: len(whole) // 2])
    assert "cut short or damaged" in str(refusal(lora, base))
    (lora / WEIGHTS).unlink()
    assert "lacks adapter_model.safetensors" in str(refusal(lora, base))
    (lora / PICKLE).write_bytes(b"")
    assert "a pickle that can run code" in str(refusal(lora, base))


@pytest.mark.parametrize("changes", [{"hidden_size": 16}, {"num_hidden_layers": 3}, {"num_hidden_layers": 5}], ids=str)
def test_an_adapter_of_another_base_is_refused(changes: dict[str, int], lora: Path) -> None:
    with pytest.raises(UnsupportedModel, match="was not made for 'base'") as error:
        merged(library_model(**changes), open_adapter(lora), "base")
    assert "\n" not in str(error.value)


def test_weights_that_no_module_takes_are_refused_and_not_passed_over(base: Path, lora: Path) -> None:
    weights = load_file(lora / WEIGHTS)
    save_file(weights | {"base_model.model.score.weight": torch.zeros(2, 2)}, lora / WEIGHTS)
    assert "nothing in it takes base_model.model.score.weight" in str(refusal(lora, base))


def test_tokens_that_an_adapter_adds_are_refused(base: Path, tmp_path: Path) -> None:
    longer = library_model(vocab_size=VOCAB + 1)
    settings = peft.LoraConfig(target_modules=["q_proj"], modules_to_save=["embed_tokens", "lm_head"])
    peft.get_peft_model(longer, settings).save_pretrained(tmp_path / "lora")
    assert "size mismatch" in str(refusal(tmp_path / "lora", base))


def test_a_base_of_another_name_is_only_a_remark(base: Path, lora: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "casspec"):
        load_model(base, adapter=changed(lora, base_model_name_or_path="there/base"))
        assert not caplog.messages
        load_model(base, adapter=changed(lora, base_model_name_or_path="there/other"))
    assert "names 'there/other' as its base" in caplog.messages[0]


def test_a_base_kept_quantised_is_refused(lora: Path) -> None:
    model = library_model()
    model.config.quantization_config = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    with pytest.raises(UnsupportedModel, match="would round them again"):
        merged(model, open_adapter(lora), "base")


def test_without_peft_the_package_is_named(lora: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("casspec.runtime.loading.checkpoints.adapters.find_spec", lambda name: None)
    with pytest.raises(UnsupportedModel, match=r"pip install 'casspec\[adapters\]'"):
        open_adapter(lora)
