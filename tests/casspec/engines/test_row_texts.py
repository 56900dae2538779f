"""Rows that move, pause, end and are replaced, against a batch that knows its requests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from casspec.engines.row_texts import MOST_LEFT_TEXTS, RowText, RowTexts
from casspec.runtime.drafters.chain_trials import ChainAcceptance, table_of
from casspec.runtime.drafters.text_chains import BOUNDARY, TextMemory

CONTEXT = 256


class Batch:
    """Requests by name in rows, as an engine keeps them: what lies past a row's end is left from before."""

    def __init__(self, n_rows: int = 6) -> None:
        self.tokens = np.full((n_rows, CONTEXT), 77, np.int32)
        self.lengths = np.zeros(n_rows, np.int32)
        self.rows: list[str] = []
        self.texts: dict[str, list[int]] = {}

    def step(self, emitted: dict[str, list[int]], order: Sequence[str]) -> list[list[int]]:
        """The requests of `order` in its order, each with what it emitted; [] of one that only reads its prompt."""
        self.rows = list(order)
        for i, name in enumerate(order):
            self.texts[name] += emitted.get(name, [])
            self.lengths[i] = len(self.texts[name])
            self.tokens[i, : len(self.texts[name])] = self.texts[name]
        return [list(emitted.get(name, [])) for name in order]


def texts_of(memory_tokens: int = 1000, left_tokens: int = 1000) -> tuple[RowTexts, TextMemory]:
    memory = TextMemory(memory_tokens)
    return RowTexts(ChainAcceptance(table_of(None)), memory, left_tokens), memory


def remembered(memory: TextMemory) -> list[list[int]]:
    """Texts of a memory."""
    found: list[list[int]] = [[]]
    for token in memory.state[1][: len(memory)].tolist():
        if token == BOUNDARY:
            found.append([])
        else:
            found[-1].append(token)
    return found[:-1]


MOVES = st.lists(
    st.tuples(
        st.permutations(range(5)), st.sets(st.integers(0, 4)), st.lists(st.integers(1, 4), min_size=5, max_size=5)
    ),
    min_size=1,
    max_size=12,
)


@given(MOVES, st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_a_text_is_found_wherever_its_row_goes_and_however_long_it_pauses(moves: list, rng: object) -> None:  # type: ignore[type-arg]
    texts, _ = texts_of()
    batch, seen = Batch(), {}  # type: ignore[var-annotated]
    random = np.random.default_rng(rng.randint(0, 1 << 30))  # type: ignore[attr-defined]
    batch.texts = {str(i): [1000 + i, *random.integers(0, 4, 5).tolist()] for i in range(5)}
    for order, absent, counts in moves:
        present = [str(i) for i in order if i not in absent]
        emitted = {name: random.integers(0, 4, counts[int(name)]).tolist() for name in present}
        sampled = batch.step(emitted, present)
        found = texts.follow(sampled, batch.lengths, batch.tokens)
        for name, text in zip(present, found, strict=True):
            assert text is not None
            assert text.text.tokens.tolist() == batch.texts[name]
            assert text.continued is (name in seen)
            assert seen.setdefault(name, text) is text


def test_what_a_text_emitted_is_remembered_when_it_leaves_once_each_part() -> None:
    texts, memory = texts_of()
    batch = Batch()
    batch.texts = {"a": [1, 2, 3], "b": [4, 5]}
    texts.follow(batch.step({"a": [10], "b": [20]}, "ab"), batch.lengths, batch.tokens)
    texts.follow(batch.step({"a": [11, 12], "b": [21]}, "ba"), batch.lengths, batch.tokens)
    assert remembered(memory) == []
    texts.follow(batch.step({"b": [22]}, "b"), batch.lengths, batch.tokens)
    assert remembered(memory) == [[10, 11, 12]]
    texts.follow(batch.step({"a": [13]}, "a"), batch.lengths, batch.tokens)  # was preempted, is resumed
    texts.follow(batch.step({}, ""), batch.lengths, batch.tokens)
    assert remembered(memory) == [[10, 11, 12], [20, 21, 22], [13]]


def test_another_request_in_the_same_row_is_another_text() -> None:
    texts, memory = texts_of()
    batch = Batch()
    batch.texts = {"a": [1, 2, 3], "b": [1, 2, 4, 9]}
    (first,) = texts.follow(batch.step({"a": [10]}, "a"), batch.lengths, batch.tokens)
    (second,) = texts.follow(batch.step({"b": [20]}, "b"), batch.lengths, batch.tokens)
    assert second is not None
    assert second is not first
    assert not second.continued
    assert second.text.tokens.tolist() == [1, 2, 4, 9, 20]
    assert remembered(memory) == [[10]]


def test_tokens_that_no_call_brought_are_taken_from_the_row() -> None:
    texts, memory = texts_of()
    batch = Batch()
    batch.texts = {"a": [1, 2, 3]}
    (text,) = texts.follow(batch.step({"a": [10]}, "a"), batch.lengths, batch.tokens)
    batch.texts["a"] += [11, 12]
    (same,) = texts.follow(batch.step({"a": [13]}, "a"), batch.lengths, batch.tokens)
    assert text is not None
    assert same is text
    assert not text.continued
    assert text.text.tokens.tolist() == [1, 2, 3, 10, 11, 12, 13]
    texts.follow([], batch.lengths, batch.tokens)
    assert remembered(memory) == [[10], [13]]


def test_a_row_that_reads_its_prompt_has_no_text_and_ends_that_of_before() -> None:
    texts, memory = texts_of()
    batch = Batch()
    batch.texts = {"a": [1, 2, 3], "b": [7] * 20}
    texts.follow(batch.step({"a": [10]}, "a"), batch.lengths, batch.tokens)
    assert texts.follow(batch.step({}, "b"), batch.lengths, batch.tokens) == [None]
    assert remembered(memory) == [[10]]


def test_texts_that_left_are_forgotten_beyond_their_bounds() -> None:
    texts, _ = texts_of(left_tokens=40)
    batch = Batch()
    held: list[RowText] = []
    for number in range(MOST_LEFT_TEXTS + 10):
        batch.texts[str(number)] = [number] * 9
        (text,) = texts.follow(batch.step({str(number): [1]}, [str(number)]), batch.lengths, batch.tokens)
        assert text is not None
        held.append(text)
    (again,) = texts.follow(batch.step({"70": [1]}, ["70"]), batch.lengths, batch.tokens)
    (anew,) = texts.follow(batch.step({"3": [1]}, ["3"]), batch.lengths, batch.tokens)
    assert again is held[70]
    assert anew is not held[3]


def test_two_requests_of_one_text_have_a_state_each() -> None:
    texts, _ = texts_of()
    batch = Batch()
    batch.texts = {"a": [1, 2], "b": [1, 2]}
    first, second = texts.follow(batch.step({"a": [5], "b": [5]}, "ab"), batch.lengths, batch.tokens)
    assert first is not second
    after = texts.follow(batch.step({"a": [6], "b": [7]}, "ba"), batch.lengths, batch.tokens)
    assert {id(text) for text in after} == {id(first), id(second)}
    assert [text.text.tokens.tolist()[-1] for text in after if text] == [7, 6]
