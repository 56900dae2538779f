"""Chains against a plain reference that looks at every place, and the bounds of a memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casspec.runtime.drafters.suffix import SuffixIndex
from casspec.runtime.drafters.text_chains import (
    ALONE,
    BOUNDARY,
    FEWER,
    LENGTH_EDGES,
    LONGEST_MATCH,
    MEMORY,
    MOST,
    MOST_PLACES,
    N_CELLS,
    N_LENGTH,
    N_SHARE,
    OWN,
    UNANIMOUS,
    IndexedText,
    TextMemory,
    draft,
)

FLAT = np.zeros(N_CELLS)
Chain = list[tuple[int, int]]


def indexed(tokens: Sequence[int]) -> IndexedText:
    text = IndexedText(4)
    for token in tokens:
        text.extend(np.array([token], np.int32))
    return text


def drafted(
    own: IndexedText, memory: TextMemory, n: int = 6, odds: np.ndarray = FLAT, lift: float = 0.0
) -> tuple[Chain, np.ndarray]:
    """((token, cell), masses) of the chain."""
    tokens, cells, masses = np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n)
    length = draft(own.state, memory.state, odds, lift, tokens, cells, masses)
    return list(zip(tokens[:length].tolist(), cells[:length].tolist(), strict=True)), masses[:length]


def reference_chain(text: Sequence[int], source: int, suffix: Sequence[int], n: int) -> Chain:
    """Every place looked at, no hashes."""
    lengths = {}
    for end in range(1, len(text)):
        length = 0
        while length < min(end, len(suffix), LONGEST_MATCH) and text[end - 1 - length] == suffix[-1 - length]:
            length += 1
        if length and text[end] >= 0:
            lengths[end] = length
    longest = max(lengths.values(), default=0)
    places = sorted((end for end, length in lengths.items() if length == longest), reverse=True)
    chain: list[tuple[int, int]] = []
    for depth in range(n):
        grown = [*text, *(token for token, _ in chain)] if source == OWN else list(text)
        followed = {end: grown[end + depth] for end in places if end + depth < len(grown) and grown[end + depth] >= 0}
        if not followed:
            break
        counts = Counter(followed[end] for end in places if end in followed)
        token, agree = counts.most_common(1)[0]
        share = (
            ALONE
            if len(followed) == 1
            else UNANIMOUS
            if agree == len(followed)
            else MOST
            if 2 * agree > len(followed)
            else FEWER
        )
        bucket = sum(edge <= longest + depth for edge in LENGTH_EDGES) - 1
        chain.append((token, (source * N_LENGTH + int(bucket)) * N_SHARE + share))
        places = [end for end in places if followed.get(end) == token]
    return chain


tokens = st.lists(st.integers(0, 3), min_size=1, max_size=14)


@given(tokens)
@settings(max_examples=300, deadline=None)
def test_a_chain_of_the_own_text_is_the_reference_s(text: list[int]) -> None:
    assert drafted(indexed(text), TextMemory(0))[0] == reference_chain(text, OWN, text, 6)


@given(st.lists(tokens, max_size=3), tokens)
@settings(max_examples=300, deadline=None)
def test_the_source_that_promises_more_is_drafted(kept: list[list[int]], text: list[int]) -> None:
    memory, stored = TextMemory(100), [token for each in kept for token in [*each, BOUNDARY]]
    for each in kept:
        memory.add(np.array(each, np.int32))
    odds = np.linspace(-1, 2, N_CELLS)
    chains = [reference_chain(text, OWN, text, 6), reference_chain(stored, MEMORY, text, 6)]
    promised = [sum(np.cumprod([1 / (1 + np.exp(-odds[cell])) for _, cell in chain])) for chain in chains]
    if abs(promised[0] - promised[1]) > 1e-9:
        assert drafted(indexed(text), memory, odds=odds)[0] == chains[int(np.argmax(promised))]


@given(tokens)
@settings(max_examples=200, deadline=None)
def test_the_match_is_as_long_as_the_suffix_automaton_s(text: list[int]) -> None:
    index = SuffixIndex()
    index.begin(text)
    (_, length), *_ = [*index.matches(text[:-1] + text[-1:]), (0, 0)]
    own = max((n for n in range(1, len(text)) if _occurs_before(text, n)), default=0)
    chain, _ = drafted(indexed(text), TextMemory(0))
    bucket = chain[0][1] // N_SHARE if chain else -1
    assert bucket == sum(edge <= own for edge in LENGTH_EDGES) - 1
    assert own <= length


def _occurs_before(text: Sequence[int], n: int) -> bool:
    return any(text[end - n : end] == text[-n:] for end in range(n, len(text)))


def test_masses_multiply_along_the_chain_and_rise_with_the_lift() -> None:
    text = indexed([1, 2, 3, 4, 1, 2])
    assert drafted(text, TextMemory(0), 3)[1].tolist() == [0.5, 0.25, 0.125]
    assert (drafted(text, TextMemory(0), 3, lift=1.0)[1] > [0.7, 0.5, 0.35]).all()


def test_a_loop_goes_on_past_the_end_of_the_text() -> None:
    chain, _ = drafted(indexed([7, 8, 7, 8, 7]), TextMemory(0), 5)
    assert [token for token, _ in chain] == [8, 7, 8, 7, 8]


def test_of_many_places_the_last_decide() -> None:
    text = [token for i in range(MOST_PLACES + 3) for token in (5, 1 if i < 3 else 2, 100 + i)] + [5]
    (first, cell), *_ = drafted(indexed(text), TextMemory(0))[0]
    assert (first, cell % N_SHARE) == (2, UNANIMOUS)


def test_a_text_is_the_same_however_it_came() -> None:
    tokens = np.random.default_rng(0).integers(0, 20, 3000).astype(np.int32)
    whole, grown = IndexedText(), IndexedText()
    whole.extend(tokens)
    for piece in np.array_split(tokens, 70):
        grown.extend(piece)
    assert (whole.tokens == grown.tokens).all()
    assert (
        drafted(whole, TextMemory(0))[0]
        == drafted(grown, TextMemory(0))[0]
        == reference_chain(tokens.tolist(), OWN, tokens.tolist(), 6)
    )


def test_a_full_memory_forgets_its_older_half() -> None:
    memory = TextMemory(1000)
    for number in range(50):
        memory.add(np.full(40, number, np.int32))
        assert len(memory) <= 1000
    asked = [IndexedText(), IndexedText()]
    asked[0].extend(np.array([49], np.int32))
    asked[1].extend(np.array([0], np.int32))
    assert [token for token, _ in drafted(asked[0], memory, 3)[0]] == [49, 49, 49]
    assert drafted(asked[1], memory, 3)[0] == []


@pytest.mark.parametrize("room", [0, 1, 3])
def test_a_memory_without_room_keeps_nothing(room: int) -> None:
    memory = TextMemory(room)
    memory.add(np.arange(10, dtype=np.int32))
    assert len(memory) == 0


def test_of_a_text_longer_than_the_memory_the_end_is_kept() -> None:
    memory = TextMemory(100)
    memory.add(np.arange(500, dtype=np.int32))
    assert len(memory) == 50
    own = IndexedText()
    own.extend(np.array([496], np.int32))
    assert [token for token, _ in drafted(own, memory)[0]] == [497, 498, 499]
