"""What every method must do, whatever it drafts: emit the target's own text, leave nothing behind, count honestly.

A new method is held to all of this by its row in `METHODS`; settings worth more than the defaults go to VARIANTS.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from casspec.runtime.decode import Decoder, Generation
from casspec.runtime.latency.timing import ForwardClock
from casspec.runtime.loading.profiles import LoadedProfile
from casspec.runtime.model.target import TargetModel
from casspec.runtime.policies import METHODS
from casspec.storage.schema import Precision
from tests.runtime.tiny import FAMILIES, VOCAB, first_rows, greedy, repetitive_prompt, run, tiny_profile, tiny_target

VARIANTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("prompt-lookup", {"max_ngram": 6, "min_ngram": 2, "n_tokens": 4, "most_recent": True}),
    ("token-recycling", {"n_nodes": 12, "max_depth": 3, "coupled": True}),
    ("layer-sparse", {"n_tokens": 7, "min_gap": 0.5}),
    ("suffix", {"factor": 4.0, "max_match": 3, "max_nodes": 100, "min_probability": 0.1}),
    ("lookahead", {"window": 3, "level": 3, "guesses": 2, "from_prompt": True}),
    ("draft-verify", {"n_tokens": 5, "threshold": 0.3, "step": 0.2}),
    ("early-exit", {"exit_share": 0.75, "n_tokens": 4, "min_gap": 0.2}),
    ("quantised", {"n_tokens": 6, "min_gap": 0.3}),
    ("static-tree", {"drafter": "", "n_nodes": 12, "max_depth": 3, "width": 2}),
    ("sequoia", {"acceptance": 0.5, "max_nodes": 24, "max_depth": 5, "width": 4, "refresh_steps": 2}),
    ("cast", {"width": 3, "max_nodes": 12, "depth_threshold": 0.1}),
    ("swift", {"skip_ratio": 0.7, "window": 5, "gaussian_every": 3, "n_tokens": 4}),
    ("swift", {"search": False, "threshold": 0.0}),
    ("vertical", {"n_tokens": 9, "n_drafted": 4, "lenience": 6.0}),
    ("horizontal", {"n_strong": 1, "n_cheap": 40}),
    ("vc-hc", {"k11": 1, "k12": 3, "k22": 1, "n_children": 8}),
    ("vc-hc", {"k11": 3, "k12": 200, "n_children": 3, "lenience": 3.0}),
    ("tree-vertical", {"n_tokens": 7, "n_drafted": 3, "width": 4, "top_p": 1.0, "max_nodes": 24}),
    ("dytc-paper", {"max_nodes": 127, "width": 5, "top_p": 1.0, "t_min": 0.01}),
    ("dytc-paper", {"max_nodes": 9, "n_drafted": 3, "max_block": 2}),
    ("knapspec", {"refresh_steps": 2, "window": 3, "n_tokens": 4, "threshold": 0.0, "min_similarity": -1.0}),
    ("dytc", {"max_nodes": 6, "branch": 2, "max_depth": 3, "optimism": 0.0}),
    ("dytc", {"without": "leaf,match,cost,rank,exploration", "max_nodes": 12}),
    ("dytc", {"max_nodes": 64, "min_mass": 0.001, "optimism": 3.0}),
)

# A processor without 8-bit kernels refuses `quantised`, in one line.
QUANTISED_RUNS = tiny_target().refusal(Precision.INT8_DYNAMIC) is None
CASES = tuple(
    case for case in (*((method, None) for method in METHODS), *VARIANTS) if QUANTISED_RUNS or case[0] != "quantised"
)
SAMPLINGS: tuple[dict[str, Any], ...] = (
    {"temperature": 0.7},
    {"temperature": 1.0},
    {"temperature": 0.7, "top_k": 4},
    {"temperature": 1.0, "top_p": 0.8},
    {"temperature": 1.3, "top_k": 9, "top_p": 0.9},
)
CONTEXT = 256


@cache
def target_of(family: str = "llama") -> TargetModel:
    return tiny_target(family, seed=7, attention_bias=family == "llama")


@cache
def profile_of(family: str = "llama") -> LoadedProfile:
    return tiny_profile(target_of(family))


@cache
def reference(family: str, prompt: tuple[int, ...], n_tokens: int) -> list[int]:
    return greedy(target_of(family), list(prompt), n_tokens)


@cache
def sampled(family: str, seed: int, sampling: tuple[tuple[str, Any], ...]) -> list[int]:
    autoregressive = Decoder(target_of(family), method="autoregressive")
    return autoregressive.generate(repetitive_prompt(33, seed=3), 32, seed=seed, **dict(sampling)).token_ids


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}-{'default' if case[1] is None else len(case[1])}")
def case(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any] | None]:
    return request.param


@pytest.fixture(params=["with profile", "without profile"])
def make(request: pytest.FixtureRequest, case: tuple[str, dict[str, Any] | None]) -> Callable[..., Decoder]:
    method, parameters = case

    def decoder(family: str = "llama") -> Decoder:
        profile = profile_of(family) if request.param == "with profile" else None
        return Decoder(target_of(family), profile, method, parameters)

    return decoder


def check_statistics(generation: Generation) -> None:
    statistics = generation.statistics
    n = len(generation.token_ids)
    assert statistics.emitted_tokens == n
    assert sum(statistics.accepted_lengths.values()) == statistics.verify_steps
    assert sum(length * count for length, count in statistics.accepted_lengths.items()) == n
    assert sum(statistics.drafted_by.values()) == statistics.drafted_tokens
    assert sum(statistics.accepted_by.values()) == statistics.accepted_tokens
    assert statistics.accepted_tokens + statistics.verify_steps == n
    assert all(statistics.accepted_by[name] <= statistics.drafted_by[name] for name in statistics.drafted_by)
    assert 0 <= statistics.acceptance_rate <= 1
    if n:
        assert statistics.mean_acceptance_length == n / statistics.verify_steps
        assert statistics.verify_ms > 0
        assert statistics.overhead_ms >= 0


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_ids_equal_those_of_the_library(make: Callable[..., Decoder], family: str) -> None:
    decoder = make(family)
    prompt = repetitive_prompt(50, seed=1)
    generation = decoder.generate(prompt, 40)
    assert generation.token_ids == reference(family, tuple(prompt), 40)
    check_statistics(generation)


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
def test_seeded_sampling_equals_autoregressive_sampling(make: Callable[..., Decoder], sampling: dict[str, Any]) -> None:
    for family, seed in (("llama", 0), ("qwen3", 2**40 + 1)):
        generation = make(family).generate(repetitive_prompt(33, seed=3), 32, seed=seed, **sampling)
        assert generation.token_ids == sampled(family, seed, tuple(sampling.items()))
        check_statistics(generation)


def test_sampling_is_the_same_text_for_a_seed_and_another_for_another() -> None:
    decoder = Decoder(target_of())
    texts = [decoder.generate([1, 2, 3], 30, temperature=1.0, seed=seed).token_ids for seed in (5, 6, 5)]
    assert texts[0] == texts[2] != texts[1]
    unseeded = [decoder.generate([1, 2, 3], 30, temperature=1.0).token_ids for _ in range(2)]
    assert unseeded[0] != unseeded[1]


@settings(max_examples=25)
@given(
    st.sampled_from(CASES),
    st.booleans(),
    st.lists(st.integers(0, 3), min_size=1, max_size=40),
    st.integers(0, 30),
    st.sampled_from([{}, *SAMPLINGS]),
    st.integers(0, 2**64 - 1),
)
def test_any_request_gives_the_autoregressive_text(case, profiled, prompt, n_tokens, sampling, seed) -> None:
    decoder = Decoder(target_of(), profile_of() if profiled else None, *case)
    expected = Decoder(target_of(), method="autoregressive").generate(prompt, n_tokens, seed=seed, **sampling)
    assert decoder.generate(prompt, n_tokens, seed=seed, **sampling).token_ids == expected.token_ids


@pytest.mark.parametrize("case", [case for case in CASES if case[0] != "autoregressive"], ids=str)
def test_drafts_are_accepted_at_all(case: tuple[str, dict[str, Any] | None]) -> None:
    """Without accepted drafts the tests above would prove little."""
    decoder = Decoder(target_of(), profile_of(), *case)
    accepted = 0
    for seed in range(6):
        accepted += decoder.generate(repetitive_prompt(40, seed), 60).statistics.accepted_tokens
    assert accepted > 0


def test_dytc_uses_retrieval_and_self_drafters() -> None:
    decoder = Decoder(target_of(), profile_of(), "dytc")
    drafted: set[str] = set()
    for seed in range(6):
        drafted |= decoder.generate(repetitive_prompt(40, seed), 40, 0.7, seed=seed).statistics.drafted_by.keys()
    assert drafted & {"light", "lighter"}
    assert drafted & {"prompt-lookup", "token-recycling"}


@pytest.mark.parametrize("n_tokens", [0, 1, 2, 17])
def test_exactly_as_many_tokens_as_asked_for(make: Callable[..., Decoder], n_tokens: int) -> None:
    prompt = repetitive_prompt(30)
    generation = make().generate(prompt, n_tokens)
    assert generation.token_ids == reference("llama", tuple(prompt), 40)[:n_tokens]
    check_statistics(generation)


def test_one_token_is_prompt_enough(make: Callable[..., Decoder]) -> None:
    assert make().generate([5], 20).token_ids == reference("llama", (5,), 20)


@pytest.mark.parametrize("free", [1, 2, 9])
def test_decoding_ends_with_the_context(make: Callable[..., Decoder], free: int) -> None:
    prompt = repetitive_prompt(CONTEXT - free)
    generation = make().generate(prompt, 50)
    assert generation.token_ids == reference("llama", tuple(prompt), free)
    check_statistics(generation)


def test_a_stop_token_ends_the_output_even_inside_an_accepted_draft(make: Callable[..., Decoder]) -> None:
    decoder, prompt = make(), repetitive_prompt(40)
    text = reference("llama", tuple(prompt), 40)
    for place in sorted({text.index(token) for token in text}):
        generation = decoder.generate(prompt, 40, stop_token_ids=[*{*range(VOCAB)} - {*text}, text[place]])
        assert generation.token_ids == text[: place + 1]
        check_statistics(generation)


@torch.inference_mode()
def test_rejected_branches_leave_nothing_in_the_cache(make: Callable[..., Decoder]) -> None:
    """After a request the committed rows equal those of a fresh prefill over the same text."""
    for request in ({}, {"temperature": 0.7, "seed": 1}):
        decoder = make()
        prompt = repetitive_prompt(37, seed=2)
        generation = decoder.generate(prompt, 48, **request)
        committed = [*prompt, *generation.token_ids][:-1]
        fresh = target_of().new_cache(len(committed))
        run(target_of(), fresh, committed)
        n = len(committed)
        torch.testing.assert_close(first_rows(decoder._cache, n), first_rows(fresh, n), atol=1e-4, rtol=1e-4)


def test_requests_do_not_depend_on_those_before(make: Callable[..., Decoder], monkeypatch: pytest.MonkeyPatch) -> None:
    """Text and drafts alike: every request starts from the profile's state. The longest comes in between, so the cache grows.

    What forwards take is told to nobody: latencies are of the machine and may change what is drafted, though never the text.
    """
    monkeypatch.setattr(ForwardClock, "recent", lambda clock: [])
    requests = [
        (repetitive_prompt(20, 0), 30, {}),
        (repetitive_prompt(90, 1), 60, {"temperature": 0.7, "seed": 4}),
        (repetitive_prompt(45, 2), 20, {}),
    ]

    def outcome(decoder: Decoder, request: tuple[list[int], int, dict[str, Any]]) -> tuple[Any, ...]:
        prompt, n_tokens, sampling = request
        generation = decoder.generate(prompt, n_tokens, **sampling)
        return generation.token_ids, generation.statistics.accepted_lengths, generation.statistics.drafted_by

    alone = [outcome(make(), request) for request in requests]
    shared = make()
    assert [outcome(shared, request) for request in requests] == alone
    assert [outcome(shared, request) for request in reversed(requests)] == alone[::-1]


def test_an_interrupted_request_spoils_nothing(make: Callable[..., Decoder]) -> None:
    decoder, prompt = make(), repetitive_prompt(40)

    def interrupt(tokens: list[int]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decoder.generate(prompt, 30, on_tokens=interrupt)
    assert decoder.generate(prompt, 30).token_ids == reference("llama", tuple(prompt), 40)[:30]


def test_a_decoder_that_learns_writes_the_same_text(case: tuple[str, dict[str, Any] | None]) -> None:
    decoder = Decoder(target_of(), profile_of(), *case).with_memory()
    for seed in (0, 1, 0):
        prompt = repetitive_prompt(24, seed)
        assert decoder.generate(prompt, 40).token_ids == reference("llama", tuple(prompt), 40)


def test_tokens_are_handed_out_as_they_are_emitted(make: Callable[..., Decoder]) -> None:
    parts: list[list[int]] = []
    generation = make().generate(repetitive_prompt(40), 33, on_tokens=parts.append)
    assert [token for part in parts for token in part] == generation.token_ids
    assert len(parts) == generation.statistics.verify_steps
    assert all(parts)


def test_the_largest_tree_fits_at_the_end_of_the_context() -> None:
    prompt = repetitive_prompt(CONTEXT - 6)
    for method, parameters in (("token-recycling", {"n_nodes": 127}), ("dytc", {"max_nodes": 127, "min_mass": 0.0})):
        generation = Decoder(target_of(), None, method, parameters).generate(prompt, 50)
        assert generation.token_ids == reference("llama", tuple(prompt), 6)
