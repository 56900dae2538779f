"""transformers' own decoding as a peer: the same text from the same weights, timed as it is."""

from __future__ import annotations

import pytest
import torch
from transformers import GenerationConfig

from casspec.runtime.decode import Decoder
from casspec.runtime.model.target import TargetModel
from casspec.storage.errors import UnsupportedOption
from casspec.tuner.bench.entries import Entry, peer_entries
from tests.tuner.text_generators import TEXTS, letters_target, tokenizer

N_TOKENS = 40

PROMPT = tokenizer()(TEXTS[0][1])["input_ids"]


@pytest.fixture
def target() -> TargetModel:
    return letters_target()


@pytest.fixture(params=[0, 1, 2], ids=["plain", "prompt-lookup", "early-exit"])
def peer(request: pytest.FixtureRequest, target: TargetModel) -> Entry:
    return peer_entries(target)[request.param]


def test_a_peer_emits_the_greedy_text_past_end_tokens_and_without_the_checkpoints_penalties(
    target: TargetModel, peer: Entry
) -> None:
    text = Decoder(target, method="autoregressive").generate(PROMPT, N_TOKENS, stop_token_ids=[]).token_ids
    defaults = GenerationConfig(eos_token_id=text[5], repetition_penalty=2.0, do_sample=True, temperature=0.3)
    target.library_model.generation_config = defaults
    generation = peer.decoder.generate(PROMPT, N_TOKENS)
    assert generation.token_ids == text
    assert target.library_model.generation_config is defaults
    assert not target.library_model._forward_hooks
    assert not target.library_model._forward_pre_hooks


def test_a_peers_steps_are_its_forwards(target: TargetModel) -> None:
    plain, lookup, early = (entry.decoder.generate(PROMPT, N_TOKENS).statistics for entry in peer_entries(target))
    assert (plain.verify_steps, plain.emitted_tokens) == (N_TOKENS, N_TOKENS)
    assert (plain.drafted_tokens, plain.accepted_tokens) == (0, 0)
    assert lookup.emitted_tokens == N_TOKENS
    assert lookup.verify_steps < N_TOKENS
    assert lookup.accepted_tokens == N_TOKENS - lookup.verify_steps
    assert lookup.drafted_tokens >= lookup.accepted_tokens
    assert early.verify_steps < N_TOKENS
    assert early.drafted_tokens >= early.accepted_tokens > 0


def test_a_peers_time_is_split_without_a_remainder(peer: Entry) -> None:
    statistics = peer.decoder.generate(PROMPT, N_TOKENS).statistics
    assert statistics.verify_ms > 0
    assert statistics.verify_ms + statistics.draft_ms < statistics.decode_ms
    assert (statistics.draft_ms > 0) == (peer.method == "transformers-early-exit")
    one_step = peer.decoder.generate(PROMPT, 1).statistics
    assert (one_step.emitted_tokens, one_step.verify_steps, one_step.prefill_ms) == (1, 1, 0.0)


def test_peers_are_greedy_only(peer: Entry) -> None:
    assert peer.modes == ("greedy",)
    with pytest.raises(UnsupportedOption, match="greedy"):
        peer.decoder.generate(PROMPT, N_TOKENS, temperature=0.7, seed=1)


def test_an_interrupted_early_exit_leaves_the_model_whole(target: TargetModel) -> None:
    def interrupt(model: torch.nn.Module, *_: object) -> None:
        if model.config.num_hidden_layers < target.n_layers:
            raise KeyboardInterrupt

    *_, early = peer_entries(target)
    with target.library_model.register_forward_pre_hook(interrupt), pytest.raises(KeyboardInterrupt):
        early.decoder.generate(PROMPT, N_TOKENS)
    assert target.library_model.config.num_hidden_layers == target.n_layers


def test_a_peer_that_the_library_refuses_is_left_out_and_told(
    target: TargetModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    lookup = target.library_model.generate

    def generate(prompt: torch.Tensor, generation_config: GenerationConfig, **options: object) -> torch.Tensor:
        if generation_config.assistant_early_exit is not None:
            raise ValueError("early exit is not for this model\nbecause")
        return lookup(prompt, generation_config=generation_config, **options)

    monkeypatch.setattr(target.library_model, "generate", generate)
    told: list[str] = []
    entries = peer_entries(target, told.append)
    assert [entry.method for entry in entries] == ["transformers", "transformers-prompt-lookup"]
    assert told == [
        "transformers-early-exit is left out, transformers refuses it: early exit is not for this model",
    ]
