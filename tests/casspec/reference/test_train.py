from __future__ import annotations

import json

import pytest
import torch

from casspec.reference.checkpoint import STATE_FILE
from casspec.reference.train import Budget, Recipe, train
from casspec.storage.errors import UnsupportedOption

STEPS = Budget(minutes=1, steps=30)


def test_training_lowers_held_out_loss_and_writes_a_loadable_model(tmp_path, tiny_corpus, tiny_recipe):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    reports = []
    last = train(tiny_corpus, tmp_path / "out", STEPS, tiny_recipe, on_report=reports.append)
    assert last.heldout_loss < 0.7 * reports[0].heldout_loss
    assert last.tokens_seen == 30 * 4 * 64

    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    ids = tokenizer("def f4_1(x):\n    return x", return_tensors="pt")["input_ids"]
    assert model.dtype == torch.bfloat16
    assert torch.isfinite(model(ids).logits).all()
    assert tokenizer.eos_token_id == 0


def test_a_trained_model_is_named_by_its_weights(tmp_path, tiny_corpus, tiny_recipe):
    train(tiny_corpus, tmp_path / "out", Budget(minutes=1, steps=2), tiny_recipe)
    facts = json.loads((tmp_path / "out" / "training.json").read_text())
    assert facts["name"] == f"casspec-{facts['weights_sha256'][:12]}"
    assert not (tmp_path / "out" / STATE_FILE).exists()


def test_a_finished_model_is_never_overwritten(tmp_path, tiny_corpus, tiny_recipe):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    with pytest.raises(UnsupportedOption, match="already holds a model"):
        train(tiny_corpus, tmp_path, STEPS, tiny_recipe)


def test_time_budget_ends_training(tmp_path, tiny_corpus, tiny_recipe):
    last = train(tiny_corpus, tmp_path / "out", Budget(minutes=0.01), tiny_recipe)
    assert last.progress == 1
    assert last.seconds >= 0.6


def test_defaults_are_the_bundled_models_sizes():
    from transformers import AutoConfig

    from casspec.reference import reference_path

    config, recipe = AutoConfig.from_pretrained(reference_path()), Recipe()
    assert (config.num_hidden_layers, config.hidden_size, config.num_attention_heads) == (12, 256, 4)
    assert (recipe.layers, recipe.hidden_size, recipe.heads) == (12, 256, 4)
    assert (recipe.mlp_size, recipe.vocabulary) == (config.intermediate_size, config.vocab_size)
