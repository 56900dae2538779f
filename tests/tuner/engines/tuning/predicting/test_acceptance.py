"""Replay drafts what the engine would have drafted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casspec.storage.engines.documents import EngineText
from casspec.tuner.engines.tuning.predicting.acceptance import LookupReplay, Replayed
from tests.tuner.engines.tuning.made_up import text


def lookup(tokens: list[int], shortest: int, longest: int, drafted: int) -> list[int]:
    """By definition: the longest n-gram that ends the text and occurs before, its earliest occurrence, what follows."""
    for n in range(min(longest, len(tokens) - 1), shortest - 1, -1):
        for end in range(n, len(tokens)):
            if tokens[end - n : end] == tokens[-n:]:
                return tokens[end : end + drafted]
    return []


def decoded(
    texts: list[EngineText],
    shortest: int,
    longest: int,
    drafted: int,
    takes_last: bool = False,
    most_new: int | None = None,
) -> Replayed:
    """Step by step, as an engine would. `most_new`: a draft leaves room for the token that its verification brings."""
    verifications = with_draft = draft_tokens = accepted = 0
    by_position = [0] * drafted
    for each in texts:
        tokens, left = [*each.prompt, each.answer[0]], list(each.answer[1:])
        while left:
            draft = last_lookup(tokens, longest, drafted) if takes_last else lookup(tokens, shortest, longest, drafted)
            if most_new is not None:
                draft = draft[: most_new - (len(tokens) - len(each.prompt)) - 1]
            right = 0
            while right < min(len(draft), len(left)) and draft[right] == left[right]:
                by_position[right] += 1
                right += 1
            verifications += 1
            with_draft += bool(draft)
            draft_tokens += len(draft)
            accepted += right
            tokens += left[: right + 1]
            left = left[right + 1 :]
    return Replayed(verifications, with_draft, draft_tokens, accepted, tuple(by_position))


token_lists = st.lists(st.integers(0, 3), min_size=1, max_size=25)


def last_lookup(tokens: list[int], n: int, drafted: int) -> list[int]:
    """By definition, as llama.cpp has it: `tokens` without the last are the history, and the last was just sampled."""
    history, pattern = tokens[:-1], tokens[-n:]
    if len(history) <= n + drafted + 1:
        return []
    for place in range(len(history) - n - 1, 0, -1):
        if history[place : place + n] == pattern:
            found = history[place + n : place + n + drafted]
            return found if len(found) >= n else []
    return []


@given(
    st.lists(st.tuples(token_lists, token_lists), min_size=1, max_size=3),
    st.integers(1, 4),
    st.integers(1, 5),
    st.integers(1, 6),
)
def test_replay_is_decoding(
    pairs: list[tuple[list[int], list[int]]], shortest: int, longest: int, drafted: int
) -> None:
    texts = [text(prompt, answer) for prompt, answer in pairs]
    shortest = min(shortest, longest)
    assert LookupReplay(texts, 5, 6).replay(shortest, longest, drafted) == decoded(texts, shortest, longest, drafted)


@given(
    st.lists(st.tuples(token_lists, token_lists), min_size=1, max_size=3),
    st.integers(1, 5),
    st.integers(1, 6),
    st.sampled_from([None, 25, 30]),
)
def test_replay_of_the_last_occurrence_is_decoding(
    pairs: list[tuple[list[int], list[int]]], length: int, drafted: int, most_new: int | None
) -> None:
    texts = [text(prompt, answer) for prompt, answer in pairs]
    expected = decoded(texts, length, length, drafted, takes_last=True, most_new=most_new)
    assert LookupReplay(texts, 5, 6, takes_last=True, most_new=most_new).replay(length, length, drafted) == expected


def test_a_draft_leaves_room_for_the_token_that_its_verification_brings() -> None:
    copied = [text([1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 2, 3, 4, 5, 6])]
    unbounded = LookupReplay(copied, 1, 5, takes_last=True).replay(1, 1, 5)
    bounded = LookupReplay(copied, 1, 5, takes_last=True, most_new=6).replay(1, 1, 5)
    assert (unbounded.draft_tokens, unbounded.accepted_tokens, unbounded.verifications) == (5, 4, 2)
    assert (bounded.draft_tokens, bounded.accepted_tokens, bounded.verifications) == (3, 3, 2)


def test_a_draft_that_would_be_shorter_than_the_n_gram_is_not_made() -> None:
    copied = [text([1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 2, 3, 4, 5, 6, 7, 8])]
    replay = LookupReplay(copied, 3, 4, takes_last=True)
    assert replay.replay(3, 3, 2).draft_tokens == 0
    assert replay.replay(2, 2, 3).accepted_tokens > 0


def test_the_earliest_occurrence_counts_not_the_latest() -> None:
    found = LookupReplay([text([1, 2, 7, 1, 2, 8], [1, 2, 7, 9])], 2, 4).replay(2, 2, 1)
    assert found.accepted_tokens == 1, "7 followed first"


def test_acceptance_length_counts_steps_without_a_draft_too() -> None:
    found = LookupReplay([text([1, 2, 3], [9, 1, 2, 3, 9, 8])], 3, 4).replay(1, 3, 4)
    assert (found.verifications, found.drafted, found.accepted_tokens) == (2, 1, 3)
    assert found.acceptance_length == pytest.approx(5 / 2)
    assert Replayed(0, 0, 0, 0).acceptance_length == 1.0


def test_more_tokens_than_are_known_ahead_are_refused() -> None:
    with pytest.raises(ValueError, match="know 4 tokens ahead"):
        LookupReplay([text([1], [2, 3])], 3, 4).replay(1, 2, 5)
