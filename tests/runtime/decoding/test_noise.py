"""The noise: known answers of the generator, the same numbers in any order of access, and exact sampling."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from casspec.runtime.decoding.noise import DeviceStream, GumbelNoise, mix_words
from casspec.runtime.decoding.plain_vocabulary import GAMMA, mix
from casspec.runtime.text.sampling import Sampling

STREAM_OF_1234567 = (
    6457827717110365317,
    3203168211198807973,
    9817491932198370423,
    4593380528125082431,
    16408922859458223821,
)
"""First outputs of SplitMix64 seeded with 1234567, as its reference implementation prints them."""
WORD = (1 << 64) - 1


def test_the_generator_gives_the_published_answers() -> None:
    states = [(1234567 + (i + 1) * GAMMA) & WORD for i in range(5)]
    assert tuple(mix(state) for state in states) == STREAM_OF_1234567
    words = torch.tensor([state - (1 << 64) if state >> 63 else state for state in states])
    assert tuple(word & WORD for word in mix_words(words).tolist()) == STREAM_OF_1234567


@given(st.lists(st.integers(0, WORD), min_size=1, max_size=9))
def test_tensors_and_integers_mix_alike(states: list[int]) -> None:
    words = torch.tensor([state - (1 << 64) if state >> 63 else state for state in states])
    assert [word & WORD for word in mix_words(words).tolist()] == [mix(state) for state in states]


reads_of_rows = st.lists(st.tuples(st.integers(0, 90), st.integers(1, 40)), min_size=1, max_size=12)


@settings(max_examples=60)
@given(reads_of_rows, st.integers(0, 2**70))
def test_rows_do_not_depend_on_the_order_of_access(reads: list[tuple[int, int]], seed: int) -> None:
    noise = GumbelNoise(seed, 13)
    whole = GumbelNoise(seed, 13).rows(0, 130)
    for position, count in reads:
        assert torch.equal(noise.rows(position, count), whole[position : position + count])
        scattered = [position + count - 1, position, position + count // 2]
        assert torch.equal(noise.rows_at(scattered), whole[scattered])


@given(st.integers(0, 2**64), st.integers(0, 2**20), st.lists(st.integers(0, 4000), min_size=1))
def test_single_numbers_are_those_of_the_row(seed: int, position: int, tokens: list[int]) -> None:
    noise = GumbelNoise(seed, 4001)
    row, (alone,) = noise.rows(position, 1)[0], noise.host_rows(position, 1)
    assert alone.of(tokens) == row[tokens].tolist() == [alone[token] for token in tokens]


@given(reads_of_rows)
def test_the_window_of_a_device_changes_no_number(reads: list[tuple[int, int]]) -> None:
    stream, whole = DeviceStream(5, 13, "cpu"), DeviceStream(5, 13, "cpu").make(0, 130)
    for position, count in reads:
        assert torch.equal(stream.rows(position, count), whole[position : position + count])


@pytest.mark.parametrize("vocab", [4, 4001])
@given(seed=st.integers(0, WORD), position=st.integers(0, 2**20))
@settings(max_examples=20)
def test_host_and_device_make_the_same_numbers(vocab: int, seed: int, position: int) -> None:
    noise = GumbelNoise(seed, vocab)
    here, there = noise.rows(position, 3), DeviceStream(int(noise.key), vocab, "cpu").make(position, 3)
    assert here.shape == there.shape == (3, vocab)
    exponential, other = here.neg().exp(), there.neg().exp()
    likely = other < 1  # the smaller, the likelier to win
    assert torch.allclose(exponential[likely], other[likely], rtol=2e-6, atol=0)
    assert torch.allclose(exponential.neg().exp(), other.neg().exp(), rtol=0, atol=3e-7)


def test_a_larger_vocabulary_changes_no_token_of_a_smaller_one() -> None:
    assert torch.equal(GumbelNoise(3, 10).rows(5, 4), GumbelNoise(3, 1001).rows(5, 4)[:, :10])


def test_noise_is_gumbel() -> None:
    sample = GumbelNoise(11, 4000).rows(0, 250).double().flatten()  # a million draws
    n = len(sample)
    assert abs(sample.mean() - 0.5772156649) < 4 * math.pi / math.sqrt(6 * n)
    assert abs(sample.var() / (math.pi**2 / 6) - 1) < 4 * math.sqrt(4.4 / n)
    assert torch.isfinite(sample).all()
    quantiles = torch.tensor([0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999], dtype=torch.float64)
    below = torch.stack([(sample <= -torch.log(-torch.log(q))).double().mean() for q in quantiles])
    assert ((below - quantiles).abs() < 4.5 * (quantiles * (1 - quantiles) / n).sqrt()).all()


@pytest.mark.parametrize(
    "other",
    [GumbelNoise(1, 1000), GumbelNoise(2**32, 1000), GumbelNoise(0, 1000, sequence=1)],
    ids=["seed", "high word of the seed", "sequence"],
)
def test_seeds_and_sequences_are_independent(other: GumbelNoise) -> None:
    first, second = GumbelNoise(0, 1000).rows(0, 100).flatten(), other.rows(0, 100).flatten()
    correlation = torch.corrcoef(torch.stack((first, second)))[0, 1]
    assert abs(correlation) < 4 / math.sqrt(len(first))


def test_neighbouring_positions_and_tokens_are_uncorrelated() -> None:
    rows = GumbelNoise(5, 1000).rows(0, 101)
    for first, second in ((rows[:-1], rows[1:]), (rows[:, :-1], rows[:, 1:])):
        correlation = torch.corrcoef(torch.stack((first.flatten(), second.flatten())))[0, 1]
        assert abs(correlation) < 4 / math.sqrt(first.numel())


@pytest.mark.parametrize("temperature", [0.7, 1.0])
@pytest.mark.parametrize(("top_k", "top_p"), [(None, None), (5, None), (None, 0.8), (6, 0.9)])
def test_argmax_with_noise_samples_the_distribution(temperature: float, top_k: int | None, top_p: float | None) -> None:
    """Chi-square of 10^5 draws against the probabilities, at a level of about 10^-4."""
    draws, vocab = 100_000, 12
    logits = torch.randn(vocab, generator=torch.Generator().manual_seed(2)) * 1.5
    sampling = Sampling(temperature, top_k, top_p)
    probabilities = sampling.scores(logits[None])[0].double().softmax(-1)
    tokens = sampling.tokens(logits.expand(draws, vocab), GumbelNoise(17, vocab).rows(0, draws))
    counts = torch.bincount(tokens, minlength=vocab).double()
    possible = probabilities > 0
    assert counts[~possible].sum() == 0
    expected = probabilities[possible] * draws
    freedom = int(possible.sum()) - 1
    chi_square = ((counts[possible] - expected) ** 2 / expected).sum()
    assert chi_square < freedom + 3.7 * math.sqrt(2 * freedom) + 2 * 3.7**2 / 3
