"""The suffix index against counting by hand."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casspec.runtime.drafters.suffix import BOUNDARY, EarlierOutputs, SuffixIndex

texts = st.lists(st.integers(0, 2), max_size=40)


def followers(text: list[int], gram: list[int]) -> Counter[int]:
    """What followed `gram` in `text`, and how often."""
    n = len(gram)
    return Counter(text[i + n] for i in range(len(text) - n) if text[i : i + n] == gram)


@given(texts, texts, st.lists(st.integers(0, 3), max_size=10), st.integers(1, 6), st.booleans())
def test_matches_and_counts_are_those_of_a_search_through_the_text(
    first: list[int], then: list[int], suffix: list[int], max_depth: int, own: bool
) -> None:
    index = SuffixIndex(max_depth)
    index.begin(first)
    index.extend(then)
    text = first + then
    if own:
        suffix = text
    found = index.matches(suffix)
    lengths = [length for _, length in found]
    assert lengths == sorted(set(lengths), reverse=True)
    counted = {state: {token: count for token, _, count in index.children(state)} for state, _ in found}
    for length in range(1, min(max_depth, len(suffix)) + 1):
        expected = followers(text, suffix[-length:])
        holding = [state for state, longest in found if longest >= length]
        assert bool(expected) == bool(holding)
        if expected and length < max_depth:  # children of a match of max_depth are longer than what is counted exactly
            assert counted[holding[-1]] == expected


@given(st.lists(st.integers(0, 2), min_size=2, max_size=40), st.integers(1, 12), st.integers(0, 5))
def test_the_likeliest_nodes_are_taken_in_order(text: list[int], n_nodes: int, max_depth: int) -> None:
    index = SuffixIndex()
    index.begin(text)
    for state, length in index.matches(text):
        total, nodes = index.expand(state, n_nodes, max_depth)
        gram = text[-length:]
        paths, values = [gram], [1.0]
        for parent, token, probability in nodes:
            counts = followers(text, paths[parent])
            assert probability == pytest.approx(values[parent] * counts[token] / counts.total())
            paths.append([*paths[parent], token])
            values.append(probability)
        assert total == pytest.approx(sum(values[1:]))
        # Greedy by hand: everything reachable, best first; ties may be broken either way.
        reachable, frontier = [], [(gram, 1.0, 0)]
        while frontier and max_depth:
            path, value, depth = frontier.pop()
            counts = followers(text, path)
            for token, count in counts.items():
                reachable.append(value * count / counts.total())
                if depth + 1 < max_depth:
                    frontier.append(([*path, token], reachable[-1], depth + 1))
        best = sorted(reachable, reverse=True)[:n_nodes]
        assert sorted(values[1:], reverse=True) == pytest.approx(best)
        assert len({tuple(path) for path in paths}) == len(paths)


def test_a_smallest_probability_ends_the_tree() -> None:
    index = SuffixIndex()
    index.begin([0, 1, 0, 1, 0, 1, 0, 2, 0])
    ((state, _),) = index.matches([0])
    _, nodes = index.expand(state, 10, 1, min_probability=0.5)
    assert nodes == [(0, 1, 0.75)]


def test_a_repetitive_text_keeps_exact_counts_of_short_strings() -> None:
    index = SuffixIndex(max_depth=4)
    index.begin([5] * 3000)
    found = index.matches([5] * 10)
    assert found[0][1] == 4
    (state, _) = found[-1]
    assert [(token, count) for token, _, count in index.children(state)] == [(5, 2999)]


def test_texts_do_not_run_into_each_other() -> None:
    index = SuffixIndex()
    index.begin([1, 2, BOUNDARY, 3, 4, BOUNDARY])
    assert index.matches([1, 2]) == []
    assert [length for _, length in index.matches([7, 3])] == [1]


def test_earlier_outputs_are_forgotten_oldest_first() -> None:
    outputs = EarlierOutputs(max_depth=8, max_tokens=10)
    outputs.add([1, 2, 3, 4])
    outputs.add([5, 6, 7, 8])
    assert outputs.index.matches([1, 2])
    outputs.add([1, 9, 1, 9])
    assert not outputs.index.matches([1, 2])
    assert not outputs.index.matches([5, 6])
    assert outputs.index.matches([1, 9, 1])
    outputs.clear()
    assert not outputs.index.matches([1, 9, 1])
