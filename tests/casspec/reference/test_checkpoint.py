"""An unfinished training goes on as if it had not been interrupted, or is refused."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from casspec.reference import train as training
from casspec.reference.checkpoint import STATE_FILE
from casspec.reference.train import Budget, train
from casspec.storage.errors import UnsupportedOption

STEPS = Budget(minutes=1, steps=30)


def weights(directory: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(directory / "model.safetensors")


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
