"""Rules of Lark."""

from __future__ import annotations

import pytest

from casspec.runtime.text.compiled_grammars import GrammarCompiler
from casspec.server.tool_calls.lark import LarkRules, any_of, in_turn, regex
from tests.casspec.server.tool_calls.test_forced_calls import byte_tokenizer

ADDED = ("<tool>", "</tool>", "<other>")


def takes(rules: LarkRules, start: str, text: str, added: tuple[str, ...] = ADDED) -> bool:
    tokenizer = byte_tokenizer(added)
    state = GrammarCompiler(tokenizer, len(tokenizer)).begin(rules.grammar(start), [tokenizer.eos_token_id])
    return state.follows([*tokenizer.encode(text), tokenizer.eos_token_id])


@pytest.mark.parametrize("text", ["a/b", "a.b*[c]{2}", "line\nline", "é🌲", "\\d", "<a_b> = 'x' & ~y|z^$#-"])
def test_a_text_is_a_regular_expression_of_itself(text: str) -> None:
    rules = LarkRules(None, ())
    start = rules.terminal(f"/{regex(text)}/")
    assert takes(rules, start, text)
    assert not takes(rules, start, text + "x")


def test_markers_are_tokens_where_they_are_some() -> None:
    rules = LarkRules(byte_tokenizer(ADDED), ("<tool>", "<missing>"))
    assert rules.written("a<tool><missing>") == '"a" <[257]> "<missing>"'
    assert rules.written("") == ""
    assert rules.other_tokens(("<tool>",)) == "<[256,258,259]>"


@pytest.mark.parametrize("added", [ADDED, ()])
def test_text_goes_on_until_its_end_and_no_further(added: tuple[str, ...]) -> None:
    rules = LarkRules(byte_tokenizer(added), ADDED)
    start = in_turn(rules.text_until("</tool>", ("<tool>",)), '"."')
    for text in ("</tool>.", "a </tool>.", "</too </tool>."):
        assert takes(rules, start, text, added), text
    for text in ("a", "a</tool>", "<tool></tool>.", "</tool></tool>."):
        assert not takes(rules, start, text, added), text


@pytest.mark.parametrize("added", [ADDED, ()])
def test_text_has_as_many_characters_as_it_may(added: tuple[str, ...]) -> None:
    rules = LarkRules(byte_tokenizer(added), ADDED)
    start = rules.text_until("</tool>", least=1, most=3)
    assert [takes(rules, start, "é" * size + "</tool>", added) for size in range(5)] == [False, True, True, True, False]


def test_one_of_several_comes() -> None:
    rules = LarkRules(None, ())
    start = any_of(map(rules.written, ("oak", "elm")))
    assert takes(rules, start, "elm")
    assert not takes(rules, start, "ash")
