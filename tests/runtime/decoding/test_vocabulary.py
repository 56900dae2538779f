"""Compiled passes over a vocabulary against the same written the long way."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casspec.runtime.decoding.noise import KEPT_POSITIONS
from casspec.runtime.decoding.plain_vocabulary import GAMMA, mix
from casspec.runtime.decoding.vocabulary import (
    BLOCK,
    best_tokens,
    gumbel_entries,
    gumbel_rows,
    walk,
)

WORD = (1 << 64) - 1
ONE_ROW = np.full(4, -1), np.full(4, -1)
"""Tokens and parents of rows that nothing hangs below."""


def plain_gumbel(key: int, position: int, token: int) -> float:
    own = mix((position * GAMMA + key) & WORD)
    word = mix((own + (token // 2 + 1) * GAMMA) & WORD)
    half = word >> 32 if token % 2 else word & 0xFFFFFFFF
    return -math.log(-math.log1p(-(half + 0.5) * 2.0**-32))


@given(st.integers(0, WORD), st.integers(0, 2**30), st.integers(1, 200))
@settings(max_examples=50)
def test_noise_is_the_double_logarithm_of_the_hash(key: int, position: int, vocab: int) -> None:
    rows = np.empty((2, vocab), np.float32)
    gumbel_rows(np.uint64(key), position, rows)
    for row, numbers in enumerate(rows):
        expected = np.array([plain_gumbel(key, position + row, token) for token in range(vocab)])
        np.testing.assert_allclose(numbers, expected, rtol=1e-7, atol=1e-7)
        tokens, alone = np.arange(vocab)[::-1].copy(), np.empty(vocab, np.float32)
        gumbel_entries(np.uint64(key), position + row, tokens, alone)
        assert np.array_equal(alone[::-1], numbers)


def bits_of(logits: np.ndarray, word: type) -> tuple[np.ndarray, np.ndarray]:
    """The bits of logits in bfloat16 (int16) or float32 (int32), and the numbers these are."""
    whole = np.ascontiguousarray(logits, np.float32).view(np.int32)
    if word is np.int32:
        return whole, logits.astype(np.float32)
    halves = (whole >> 16).astype(np.int16)
    return halves, (halves.astype(np.int32) << 16).view(np.float32)


def place_of(bits: np.ndarray) -> tuple[int, int, int, bool, int]:
    """Of logits whose bits these are, all columns."""
    return bits.ctypes.data, *bits.shape, bits.itemsize == 4, bits.shape[1]


@st.composite
def rows_of_logits(draw: st.DrawFn) -> np.ndarray:
    """Spread or flat, with equals among them or none, some tokens left out."""
    vocab = draw(st.sampled_from([1, 3, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK + 7, 40 * BLOCK]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    logits = rng.normal(size=(4, vocab)) * draw(st.sampled_from([0.0, 0.3, 4.0, 30.0])) + draw(
        st.sampled_from([-9, 0, 20])
    )
    if draw(st.booleans()):
        logits = logits.round()
    if draw(st.booleans()):
        logits[rng.random(logits.shape) < draw(st.sampled_from([0.1, 0.9, 1.0]))] = -np.inf
    return logits.astype(np.float32)


@pytest.mark.parametrize("word", [np.int16, np.int32])
@given(
    rows_of_logits(), st.integers(0, WORD), st.integers(1, 12), st.sampled_from([0.5, 1.0, 1 / 0.7, 20.0]), st.data()
)
@settings(max_examples=150)
def test_a_search_finds_what_a_look_at_every_token_finds(
    word: type, logits: np.ndarray, key: int, wanted: int, alpha: float, data: st.DataObject
) -> None:
    bits, numbers = bits_of(logits, word)
    vocab, scale = bits.shape[1], np.float32(alpha)
    wanted = min(wanted, vocab)
    made, ceilings = np.full(KEPT_POSITIONS, -1, np.int64), np.empty((KEPT_POSITIONS, -(-vocab // BLOCK)), np.float32)
    noise = np.uint64(key), made, ceilings
    for _ in range(2):  # the second time some ceilings are known
        rows = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=5))
        positions = [data.draw(st.sampled_from([-1, 7, 8, 7 + KEPT_POSITIONS])) for _ in rows]
        ids, scores = np.empty((len(rows), wanted), np.int64), np.empty((len(rows), wanted), np.float32)
        best_tokens(*place_of(bits), np.array(rows), np.array(positions), scale, *noise, ids, scores)
        for row, position, found, found_scores in zip(rows, positions, ids, scores, strict=True):
            whole, expected = np.empty((1, vocab), np.float32), numbers[row] * scale
            if position >= 0:
                gumbel_rows(np.uint64(key), position, whole)
                expected = expected + whole[0]
            order = np.argsort(-expected, kind="stable")[:wanted]
            assert np.array_equal(found, order)
            assert np.array_equal(found_scores, expected[order])
            path, top, values = (
                np.empty((1, 2), np.int64),
                np.empty((1, wanted), np.int64),
                np.empty((1, wanted), np.float32),
            )
            assert walk(*place_of(bits), *ONE_ROW, row, position, scale, *noise, path, top, values) == 1
            raw = np.argsort(-numbers[row], kind="stable")[:wanted]
            assert np.array_equal(top[0], raw)
            assert np.array_equal(values[0], numbers[row][raw])
            assert path.tolist() == [[row, order[0] if position >= 0 else raw[0]]]


@pytest.mark.parametrize("word", [np.int16, np.int32])
def test_what_is_no_number_gives_tokens_of_the_vocabulary_all_the_same(word: type) -> None:
    bits, _ = bits_of(np.full((1, 3 * BLOCK), np.nan, np.float32), word)
    made, ceilings = np.full(KEPT_POSITIONS, -1, np.int64), np.empty((KEPT_POSITIONS, 3), np.float32)
    ids, scores = np.empty((2, 4), np.int64), np.empty((2, 4), np.float32)
    best_tokens(
        *place_of(bits),
        np.zeros(2, np.int64),
        np.array([-1, 5]),
        np.float32(1),
        np.uint64(1),
        made,
        ceilings,
        ids,
        scores,
    )
    assert ((ids >= 0) & (ids < 3 * BLOCK)).all()
