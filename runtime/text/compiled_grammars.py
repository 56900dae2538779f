"""Grammars made ready for a tokenizer, by llguidance (extra `grammar`): what a text may go on with, as a set of tokens."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from copy import copy
from threading import Lock
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from casspec.runtime.text.grammar import Grammar
from casspec.runtime.text.grammar_state import GrammarState
from casspec.storage.errors import UnsupportedOption

if TYPE_CHECKING:
    from llguidance import LLMatcher

NO_END = "<|casspec: no end|>"
"""A token that no text has. llguidance wants an end; those that end a text are the request's, see `grammar_state.py`."""

KEPT = 64
"""Grammars that stay ready, those asked for last."""

_compilers: WeakKeyDictionary[Any, GrammarCompiler] = WeakKeyDictionary()


def compiler_of(tokenizer: Any, vocab_size: int) -> GrammarCompiler:
    """The compiler of a tokenizer, made once: it reads the whole vocabulary.

    Raises UnsupportedOption without llguidance, and for a tokenizer that does not say which bytes its tokens stand for.
    """
    compiler = _compilers.get(tokenizer) if tokenizer is not None else None
    if compiler is None or compiler.vocab_size != vocab_size:
        compiler = GrammarCompiler(tokenizer, vocab_size)
        _compilers[tokenizer] = compiler
    return compiler


class GrammarCompiler:
    """Grammars over one tokenizer, for any thread: who makes one ready makes no other thread wait.

    Args:
        tokenizer: a fast one of the library. vocab_size: of the model, which may have more tokens.

    Raises as `compiler_of`.
    """

    def __init__(self, tokenizer: Any, vocab_size: int) -> None:
        try:
            from llguidance import LLTokenizer
        except ImportError as error:
            raise UnsupportedOption("a grammar needs llguidance: pip install 'casspec[grammar]'") from error
        if not hasattr(tokenizer, "backend_tokenizer"):
            raise UnsupportedOption(
                "a grammar needs a fast tokenizer (a tokenizer.json), which this model does not bring; leave it out"
            )
        try:
            written, self._no_end = _with_an_end(tokenizer.backend_tokenizer)
            self._tokens = LLTokenizer(written, n_vocab=self._no_end + 1, eos_token=self._no_end)
        except ValueError as error:
            raise UnsupportedOption(f"llguidance cannot read the tokenizer ({_in_a_line(str(error))})") from error
        self.vocab_size = vocab_size
        self._ready: OrderedDict[Grammar, LLMatcher] = OrderedDict()
        self._lock = Lock()

    def check(self, grammar: Grammar) -> None:
        """Makes it ready. Raises UnsupportedOption for one that is not valid, or holds what cannot be honoured."""
        self._matcher(grammar)

    def begin(self, grammar: Grammar, ends: Collection[int]) -> GrammarState:
        """A text of a grammar, nothing of it said. Errors as of `check`.

        Args:
            ends: tokens that end the text; they may come where the grammar could end.
        """
        return GrammarState(self._matcher(grammar).deep_copy(), self._no_end, ends, self.vocab_size)

    def _matcher(self, grammar: Grammar) -> LLMatcher:
        with self._lock:
            matcher = self._ready.get(grammar)
        if matcher is None:
            matcher = self._made(grammar)
        with self._lock:
            self._ready[grammar] = matcher
            self._ready.move_to_end(grammar)
            if len(self._ready) > KEPT:
                self._ready.popitem(last=False)
        return matcher

    def _made(self, grammar: Grammar) -> LLMatcher:
        from llguidance import LLMatcher, grammar_from

        try:
            read = grammar_from(grammar.kind, grammar.text)
        except ValueError as error:
            raise _refusal(grammar, str(error)) from error
        wrong, told = LLMatcher.validate_grammar_with_warnings(read, self._tokens)
        if wrong:
            raise _refusal(grammar, told[0])
        matcher = LLMatcher(self._tokens, read, log_level=0)
        if matcher.is_error():
            raise _refusal(grammar, matcher.get_error())
        return matcher


def _with_an_end(tokenizer: Any) -> tuple[str, int]:
    """A fast tokenizer as JSON, with an end behind all its tokens. Raises ValueError where it cannot stand there."""
    own = copy(tokenizer)
    own.no_padding()
    own.no_truncation()
    largest = max(own.get_vocab(with_added_tokens=True).values())
    own.add_special_tokens([NO_END])
    end = own.token_to_id(NO_END)
    if end <= largest:
        raise ValueError("its token ids have gaps")
    return own.to_str(), end


def _refusal(grammar: Grammar, fault: str) -> UnsupportedOption:
    name = {"json_schema": "JSON schema", "regex": "regular expression"}.get(grammar.kind, f"{grammar.kind} grammar")
    return UnsupportedOption(f"the {name} cannot be honoured: {_in_a_line(fault)}; mend it or leave it out")


def _in_a_line(fault: str) -> str:
    return " ".join(fault.split())[:300]
