"""A text on its way through a grammar."""

from __future__ import annotations

import random

import pytest
import torch

from casspec.runtime.text.compiled_grammars import compiler_of
from casspec.runtime.text.grammar import Grammar
from casspec.runtime.text.grammar_state import GrammarState
from tests.runtime.tiny import VOCAB
from tests.runtime.tiny_grammars import END, GRAMMARS, bracket_tokenizer


def state_of(grammar: Grammar, ends: tuple[int, ...] = (END,), vocab_size: int = VOCAB) -> GrammarState:
    return compiler_of(bracket_tokenizer(), vocab_size).begin(grammar, ends)


def tokens(text: str) -> list[int]:
    return list(bracket_tokenizer().encode(text))


def allowed_after(state: GrammarState, suffix: list[int], vocab_size: int = VOCAB) -> set[int]:
    scores = torch.zeros(1, vocab_size)
    state.mask(scores, [suffix])
    return set(torch.nonzero(scores[0] == 0).flatten().tolist())


@pytest.mark.parametrize("grammar", GRAMMARS)
def test_paths_visited_in_any_order_say_what_a_text_of_their_own_says(grammar: Grammar) -> None:
    chance, state, paths = random.Random(1), state_of(grammar), [list[int]()]
    for _ in range(40):
        path = chance.choice(paths)
        if state.is_complete(path):
            continue
        token = chance.choice(sorted(allowed_after(state, path)))
        if token != END:
            paths.append([*path, token])
    for path in chance.sample(paths, len(paths)):
        other = state_of(grammar)
        for token in path:
            other.advance([token])
        assert state.is_complete(path) == other.is_complete(())
        assert state.forced(path) == other.forced(())
        if not state.is_complete(path):
            assert allowed_after(state, path) == allowed_after(other, [])
        assert state.follows(path)


def test_a_masked_row_keeps_what_may_follow_and_each_row_has_its_own_suffix() -> None:
    state = state_of(Grammar("regex", "ab?c"))
    scores = torch.ones(3, VOCAB)
    state.mask(scores, [[], tokens("a"), tokens("ab")])
    left = [set(torch.nonzero(row == 1).flatten().tolist()) for row in scores]
    (a, b, c, ab) = tokens("a") + tokens("b") + tokens("c") + tokens("ab")
    assert left == [{a, ab}, {b, c}, {c}]
    assert bool((scores[scores != 1] == -torch.inf).all())


def test_an_end_may_come_where_the_text_could_end_and_nothing_follows_it() -> None:
    state, (a,) = state_of(Grammar("regex", "a*")), tokens("a")
    assert allowed_after(state, []) == {a, END, *tokens("aba")} - set(tokens("aba"))
    assert state.follows([a, END])
    assert not state.follows([END, a])
    assert not state_of(Grammar("regex", "a+")).follows([END])
    assert END not in allowed_after(state_of(Grammar("regex", "a*"), ends=()), [])


def test_an_end_that_belongs_to_the_grammar_may_come_too() -> None:
    (a, b) = tokens("a") + tokens("b")
    state = state_of(Grammar("regex", "[ab]{3}"), ends=(b,))
    assert state.follows([a, b])
    assert state.allows([a], b)
    assert not state.follows([a, b, a])


def test_what_is_forced_is_told_and_a_choice_is_not() -> None:
    state = state_of(Grammar("regex", "tube(s|d)"))
    assert state.forced(()) == tokens("tube")
    assert state.forced(tokens("tube")) == []
    assert state.forced(tokens("tubes")) == []
    assert state.forced(tokens("c")) == []


def test_a_path_that_left_the_grammar_leaves_its_row_alone() -> None:
    state = state_of(Grammar("regex", "ab"))
    assert not state.follows(tokens("c"))
    assert allowed_after(state, tokens("c")) == set(range(VOCAB))
    assert not state.allows(tokens("c"), tokens("a")[0])
    assert state.follows(tokens("a"))


def test_tokens_that_the_tokenizer_does_not_have_may_not_come() -> None:
    state = state_of(Grammar("regex", "[^]]*"), vocab_size=VOCAB + 9)
    assert not allowed_after(state, [], VOCAB + 9) & set(range(VOCAB, VOCAB + 9))
    assert not state.follows([VOCAB])
    assert not state.follows([VOCAB + 5])
    assert state.forced([VOCAB + 5]) == []


@pytest.mark.parametrize("grammar", GRAMMARS)
@pytest.mark.parametrize("ends", [(), (END,), (END, 3)])
def test_what_is_found_without_a_set_of_tokens_is_what_the_set_says(grammar: Grammar, ends: tuple[int, ...]) -> None:
    """Walks go by it: a forced token is the only one in the set, and elsewhere a token goes on where it is in the set."""
    chance, state, paths = random.Random(2), state_of(grammar, ends), [list[int]()]
    for _ in range(30):
        path = chance.choice(paths)
        if state.is_complete(path):
            continue
        allowed = allowed_after(state, path)
        forced = state.forced(path)
        if forced:
            assert allowed == {forced[0]}
        else:
            assert allowed == {token for token in range(VOCAB) if state.goes_on(path, token)}
        assert allowed == {token for token in range(VOCAB) if state.allows(path, token)}
        token = chance.choice(sorted(allowed))
        if token not in ends:
            paths.append([*path, token])
