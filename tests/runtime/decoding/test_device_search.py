"""What a device finds in logits is what the host finds: the same tokens in the same order, of equals the lower one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from casspec.runtime.decoding.device_search import MOST_RANKED, DeviceSearch, ForwardRows, Said, scores_of
from casspec.runtime.decoding.host_search import HostSearch, top_rows
from casspec.runtime.decoding.noise import GumbelNoise
from casspec.runtime.decoding.successors import TOP_SUCCESSORS
from casspec.runtime.model.transfers import to_host
from casspec.runtime.text.sampling import Sampling

VOCAB, ROWS, HOST = 150, 6, torch.device("cpu")
SAMPLINGS = [
    Sampling(),
    Sampling(0.7),
    Sampling(1.0, top_k=5),
    Sampling(0.9, top_p=0.8),
    Sampling(1.2, min_p=0.1),
    Sampling(1.3, top_k=40, top_p=0.5),
    Sampling(0.8, typical_p=0.6),
]
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
LOW_NOISE, LOW_NOISE_ERROR = -2.0, 0.05
"""A device makes u in float32, whose step near 1 is 2^-24: the g of the unluckiest tokens is known this well only."""

seeds = st.integers(0, 10**6)


def search_of(sampling: Sampling, noise: GumbelNoise | None, vocab: int = VOCAB) -> DeviceSearch:
    return DeviceSearch(sampling, None if noise is None else noise.stream, vocab, HOST, to_host)


def some_logits(seed: int, dtype: torch.dtype, equals: bool = False) -> torch.Tensor:
    logits = torch.randn(ROWS + 2, VOCAB, generator=torch.Generator().manual_seed(seed)) * 4
    return (logits.round() if equals else logits).to(dtype)  # a rounded negative becomes a negative zero


def rows_of(logits: torch.Tensor, emitted: list[int]) -> ForwardRows:
    """A forward whose last rows are padding, as a bucket has it."""
    return ForwardRows(logits, emitted)


def noise_of(sampling: Sampling, seed: int) -> GumbelNoise | None:
    return None if sampling.greedy else GumbelNoise(seed, VOCAB)


emitted_positions = st.lists(st.integers(1, 40), min_size=ROWS, max_size=ROWS)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
@given(seeds, emitted_positions)
@settings(max_examples=25)
def test_drafted_tokens_are_those_of_the_host(
    sampling: Sampling, dtype: torch.dtype, seed: int, emitted: list[int]
) -> None:
    logits, noise = some_logits(seed, dtype), noise_of(sampling, seed)
    host = HostSearch(sampling, noise, VOCAB)
    ids, scores = host.best(logits, range(ROWS), None if noise is None else emitted, 4)
    said = search_of(sampling, noise).drafted(rows_of(logits, emitted), 4, probabilities=True)
    wanted = [4, 0, 5]
    found, their_scores = said.best(wanted)
    assert (found.dtype, their_scores.dtype) == (np.int64, np.float32)
    assert found.flags.c_contiguous
    assert their_scores.flags.c_contiguous
    assert found.tolist() == ids[wanted].tolist()
    allowed = np.full(found.shape, 1e-5)
    if noise is not None:
        g = noise.rows_at(emitted)[wanted].gather(-1, torch.from_numpy(found)).numpy()
        allowed[g < LOW_NOISE] = LOW_NOISE_ERROR
    near = np.isclose(their_scores, scores[wanted], rtol=1e-5, atol=allowed)
    assert near.all(), (their_scores, scores[wanted])
    odds = sampling.scores(logits[wanted]).softmax(-1).gather(-1, torch.from_numpy(found))
    assert said.odds(wanted).tolist() == odds.tolist()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@given(seeds)
@settings(max_examples=25)
def test_of_equals_the_lower_token_comes_first(dtype: torch.dtype, seed: int) -> None:
    logits = some_logits(seed, dtype, equals=True)
    ids, scores = HostSearch(Sampling(), None, VOCAB).best(logits, range(ROWS), None, 20)
    found, their_scores = search_of(Sampling(), None).drafted(rows_of(logits, [1] * ROWS), 20).best(range(ROWS))
    assert found.tolist() == ids.tolist()
    assert their_scores.tolist() == scores.tolist()


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
@pytest.mark.parametrize("keeps_top", [True, False])
@given(seeds, emitted_positions)
@settings(max_examples=25)
def test_the_targets_tokens_and_their_neighbours_are_those_of_the_host(
    sampling: Sampling, keeps_top: bool, seed: int, emitted: list[int]
) -> None:
    logits, noise = some_logits(seed, torch.float32), noise_of(sampling, seed)
    host = HostSearch(sampling, noise, VOCAB)
    tokens, _ = host.best(logits, range(ROWS), None if noise is None else emitted, 1)
    said = search_of(sampling, noise).verified(rows_of(logits, emitted), keeps_top)
    assert said.tokens()[:ROWS] == tokens[:, 0].tolist()
    if keeps_top:
        ids, values = said.top([3, 1])
        assert (ids.tolist(), values.tolist()) == top_rows(logits[[3, 1]])


@pytest.mark.parametrize("n_rows", [1, MOST_RANKED, 2 * MOST_RANKED + 3])
def test_successors_of_a_long_prompt_are_found_part_by_part(n_rows: int) -> None:
    logits = torch.randn(n_rows, VOCAB, generator=torch.Generator().manual_seed(1)).round()
    ids, values = search_of(Sampling(), None).successors(logits).top(range(n_rows))
    assert (ids.tolist(), values.tolist()) == top_rows(logits)


@given(st.integers(1, TOP_SUCCESSORS + 1), seeds)
@settings(max_examples=25)
def test_a_vocabulary_may_be_narrower_than_what_is_asked_for(vocab: int, seed: int) -> None:
    logits = some_logits(seed, torch.float32)[:ROWS, :vocab]
    search, rows = search_of(Sampling(), None, vocab), rows_of(logits, [1] * ROWS)
    assert search.verified(rows, keeps_top=True).top([2])[0].tolist() == top_rows(logits[2:3])[0]
    assert search.drafted(rows, vocab + 4).best([2])[0].shape == (1, vocab)


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=9, unique=True))
def test_ranks_hold_scores_to_the_last_bit(numbers: list[float]) -> None:
    scores = torch.tensor([numbers], dtype=torch.float32)
    said = DeviceSearch(Sampling(), None, len(numbers), HOST, to_host).drafted(ForwardRows(scores, [1]), len(numbers))
    ids, found = said.best([0])
    assert found.tolist() == scores.gather(-1, torch.from_numpy(ids)).tolist()
    assert found[0].tolist() == sorted(numbers, reverse=True)


def test_rows_of_positions_in_a_row_take_the_noise_as_it_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    noise, logits = GumbelNoise(3, VOCAB), some_logits(3, torch.float32)
    search, n = search_of(Sampling(0.8), noise), len(logits)
    expected = search.verified(ForwardRows(logits, [*range(7, 7 + n - 1), 30]), keeps_top=False).tokens()
    monkeypatch.setattr("casspec.runtime.decoding.device_search.to_device", None)
    found = search.verified(ForwardRows(logits, range(7, 7 + n)), keeps_top=False).tokens()
    assert found[:-1] == expected[:-1]


def test_what_is_said_is_read_once_and_only_when_asked_for() -> None:
    reads: list[torch.Tensor] = []

    def read(answers: torch.Tensor) -> np.ndarray:
        reads.append(answers)
        return answers.numpy()

    search = DeviceSearch(Sampling(), None, VOCAB, HOST, read)
    said = search.verified(rows_of(some_logits(0, torch.float32), [1] * ROWS), keeps_top=True)
    assert not reads
    for _ in range(2):
        said.tokens()
        said.top([0, 1])
        assert len(reads) == 1


def test_scores_of_an_empty_row_are_none() -> None:
    assert scores_of(np.empty((3, 0), np.int64)).shape == (3, 0)
    said = Said(torch.zeros(2, 1, dtype=torch.int64), to_host, VOCAB, n_best=1)
    assert said.odds([1, 0]).shape == (2, 0)
