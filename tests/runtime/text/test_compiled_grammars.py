"""Grammars made ready for a tokenizer."""

from __future__ import annotations

import sys

import pytest

from casspec.runtime.text.compiled_grammars import KEPT, GrammarCompiler, compiler_of
from casspec.runtime.text.grammar import Grammar
from casspec.storage.errors import UnsupportedOption
from tests.runtime.plain_requests import SyllableTokenizer
from tests.runtime.tiny import VOCAB
from tests.runtime.tiny_grammars import END, bracket_tokenizer


def test_a_tokenizer_is_read_once() -> None:
    compiler = compiler_of(bracket_tokenizer(), VOCAB)
    assert compiler_of(bracket_tokenizer(), VOCAB) is compiler
    assert compiler_of(bracket_tokenizer(), VOCAB + 1) is not compiler


def test_texts_of_one_grammar_know_nothing_of_each_other() -> None:
    compiler, grammar = GrammarCompiler(bracket_tokenizer(), VOCAB), Grammar("regex", "ab")
    first, second = compiler.begin(grammar, [END]), compiler.begin(grammar, [END])
    first.advance(bracket_tokenizer().encode("ab"))
    assert first.is_complete(())
    assert not second.is_complete(())


def test_grammars_asked_for_last_stay_ready() -> None:
    compiler = GrammarCompiler(bracket_tokenizer(), VOCAB)
    grammars = [Grammar("regex", "a" * (1 + place)) for place in range(KEPT + 1)]
    for grammar in grammars:
        compiler.check(grammar)
        compiler.check(grammars[0])
    assert grammars[0] in compiler._ready
    assert grammars[1] not in compiler._ready
    assert len(compiler._ready) == KEPT


def test_without_the_library_and_without_a_fast_tokenizer_a_line_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(UnsupportedOption, match="needs a fast tokenizer"):
        GrammarCompiler(SyllableTokenizer(), VOCAB)
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(UnsupportedOption, match=r"pip install 'casspec\[grammar\]'"):
        GrammarCompiler(bracket_tokenizer(), VOCAB)


@pytest.mark.parametrize("kind", ["regex", "lark", "json_schema", "gbnf"])
def test_what_is_not_valid_is_refused_in_one_line(kind: str) -> None:
    with pytest.raises(UnsupportedOption, match="cannot be honoured") as refusal:
        compiler_of(bracket_tokenizer(), VOCAB).check(Grammar(kind, "((("))  # type: ignore[arg-type]
    assert "\n" not in str(refusal.value)
