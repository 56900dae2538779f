from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from casspec.reference import train as training
from casspec.reference.checkpoint import STATE_FILE
from casspec.reference.corpus import Corpus, encode, find_corpus, train_tokenizer
from casspec.reference.optimizer import learning_rate_factor
from casspec.reference.train import Budget, Recipe, train
from casspec.storage.errors import UnsupportedOption

STEPS = Budget(minutes=1, steps=30)


def weights(directory: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(directory / "model.safetensors")


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


def test_interrupted_training_goes_on_as_if_it_had_not_been(tmp_path, tiny_corpus, tiny_recipe, monkeypatch):
    train(tiny_corpus, tmp_path / "whole", STEPS, tiny_recipe)

    compute_loss, calls = training._loss, []

    def interrupting(model, windows):
        calls.append(None)
        if len(calls) == 12:
            signal.raise_signal(signal.SIGINT)
        return compute_loss(model, windows)

    monkeypatch.setattr(training, "_loss", interrupting)
    with pytest.raises(KeyboardInterrupt):
        train(tiny_corpus, tmp_path / "parts", STEPS, tiny_recipe)
    assert (tmp_path / "parts" / STATE_FILE).exists()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    monkeypatch.setattr(training, "_loss", compute_loss)
    last = train(tiny_corpus, tmp_path / "parts", STEPS, tiny_recipe)
    assert last.step == 30
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_resuming_with_other_settings_is_refused(tmp_path, tiny_corpus, tiny_recipe, monkeypatch):
    def interrupt(model, windows):
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "_loss", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(tiny_corpus, tmp_path / "out", STEPS, tiny_recipe)
    with pytest.raises(UnsupportedOption, match="another layers, seed"):
        train(tiny_corpus, tmp_path / "out", STEPS, replace(tiny_recipe, layers=3, seed=1))


def test_a_finished_model_is_never_overwritten(tmp_path, tiny_corpus, tiny_recipe):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    with pytest.raises(UnsupportedOption, match="already holds a model"):
        train(tiny_corpus, tmp_path, STEPS, tiny_recipe)


def test_time_budget_ends_training(tmp_path, tiny_corpus, tiny_recipe):
    last = train(tiny_corpus, tmp_path / "out", Budget(minutes=0.01), tiny_recipe)
    assert last.progress == 1
    assert last.seconds >= 0.6


def test_learning_rate_rises_holds_and_falls():
    assert learning_rate_factor(0.0) == pytest.approx(0.02)
    assert learning_rate_factor(0.01) == pytest.approx(0.5)
    assert learning_rate_factor(0.3) == 1.0
    assert learning_rate_factor(0.75) == pytest.approx(0.51)
    assert learning_rate_factor(1.0) == pytest.approx(0.02)


def test_library_corpus_separates_held_out_modules_and_leaves_tests_out(tmp_path: Path):
    for name in (
        "wave.py",
        "heapq.py",
        "zipfile/__init__.py",
        "zipfile/extra.py",
        "test/test_wave.py",
        "encodings/ascii.py",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x = 1\n" * 200)
    (tmp_path / "short.py").write_text("x = 1\n")
    corpus = find_corpus(library=tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in corpus.library] == ["heapq.py", "zipfile/extra.py"]
    assert [path.relative_to(tmp_path).as_posix() for path in corpus.heldout] == ["wave.py", "zipfile/__init__.py"]


def test_given_directories_join_the_training_text_only(tmp_path: Path):
    (tmp_path / "mine").mkdir()
    mine = tmp_path / "mine" / "module.py"
    mine.write_text("y = 2\n" * 200)
    corpus = find_corpus([tmp_path / "mine"])
    assert corpus.others == (mine,)
    assert mine in corpus.training
    assert mine not in corpus.library


def test_a_directory_without_source_is_named(tmp_path: Path):
    with pytest.raises(UnsupportedOption, match=str(tmp_path)):
        find_corpus([tmp_path])


def test_end_of_text_stands_before_each_file(tiny_corpus: Corpus):
    tokenizer = train_tokenizer(tiny_corpus.library, 300)
    ids = encode(tiny_corpus.training, tokenizer).tolist()
    assert ids[0] == 0
    assert ids.count(0) == len(tiny_corpus.training)
    assert tokenizer.decode(ids[1 : ids.index(0, 1)]) == tiny_corpus.training[0].read_text()


def test_defaults_are_the_bundled_models_sizes():
    from transformers import AutoConfig

    from casspec.reference import reference_path

    config, recipe = AutoConfig.from_pretrained(reference_path()), Recipe()
    assert (config.num_hidden_layers, config.hidden_size, config.num_attention_heads) == (12, 256, 4)
    assert (recipe.layers, recipe.hidden_size, recipe.heads) == (12, 256, 4)
    assert (recipe.mlp_size, recipe.vocabulary) == (config.intermediate_size, config.vocab_size)
