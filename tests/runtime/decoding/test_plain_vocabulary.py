"""The passes over a vocabulary without a compiler give the same bits as with one."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casspec.runtime import compiled
from casspec.runtime.decoding import plain_vocabulary as plain
from casspec.runtime.decoding import vocabulary
from tests.runtime.decoding.test_vocabulary import WORD, bits_of, place_of, rows_of_logits

PASSES = pytest.mark.skipif(compiled.numba is None, reason="nothing to compare with: numba cannot be imported")
POSITIONS = 4


def no_noise_kept(vocab: int) -> tuple[np.ndarray, np.ndarray]:
    return np.full(POSITIONS, -1, np.int64), np.empty((POSITIONS, -(-vocab // vocabulary.BLOCK)), np.float32)


@PASSES
@given(st.integers(0, WORD), st.integers(0, 2**40), st.integers(1, 300))
def test_noise_is_the_same_bit_by_bit(key: int, position: int, vocab: int) -> None:
    compiled_rows, plain_rows = np.empty((2, vocab), np.float32), np.empty((2, vocab), np.float32)
    vocabulary.gumbel_rows(np.uint64(key), position, compiled_rows)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain.gumbel_rows(np.uint64(key), position, plain_rows)
    assert np.array_equal(compiled_rows, plain_rows)
    tokens, alone = np.arange(vocab)[::-1].copy(), np.empty(vocab, np.float32)
    plain.gumbel_entries(np.uint64(key), position, tokens, alone)
    assert np.array_equal(alone[::-1], plain_rows[0])


@PASSES
@pytest.mark.parametrize("word", [np.int16, np.int32])
@given(rows_of_logits(), st.integers(0, WORD), st.integers(1, 9), st.sampled_from([1.0, 1 / 0.7]), st.integers(-1, 9))
@settings(max_examples=80)
def test_the_best_tokens_are_the_same(
    word: type, logits: np.ndarray, key: int, wanted: int, alpha: float, position: int
) -> None:
    bits, _ = bits_of(logits, word)
    wanted, scale = min(wanted, bits.shape[1]), np.float32(alpha)
    rows, positions = np.array([3, 0, 3]), np.array([position, -1, position + 1])
    found = []
    for module in (vocabulary, plain):
        noise = np.uint64(key), *no_noise_kept(bits.shape[1])
        ids, scores = np.empty((3, wanted), np.int64), np.empty((3, wanted), np.float32)
        module.best_tokens(*place_of(bits), rows, positions, scale, *noise, ids, scores)
        chain = ids[[0, 1, 1, 2], 0], np.arange(-1, 3)  # each node under the one before
        path, top, values = np.full((4, 2), -9), np.full((4, wanted), -9), np.full((4, wanted), -9, np.float32)
        n = module.walk(*place_of(bits), *chain, 0, position, scale, *noise, path, top, values)
        found.append((ids.tolist(), scores.tolist(), n, path.tolist(), top.tolist(), values.tolist()))
    assert found[0] == found[1]


def test_what_is_no_number_gives_tokens_of_the_vocabulary_all_the_same() -> None:
    bits, _ = bits_of(np.full((1, 200), np.nan, np.float32), np.int16)
    ids, scores = np.empty((2, 4), np.int64), np.empty((2, 4), np.float32)
    noise = np.uint64(1), *no_noise_kept(200)
    plain.best_tokens(*place_of(bits), np.zeros(2, np.int64), np.array([-1, 5]), np.float32(1), *noise, ids, scores)
    assert ((ids >= 0) & (ids < 200)).all()
