"""Grammars over a tokenizer of as many tokens as tiny models have, and plain decoding under them, the long way."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from casspec.runtime.model.target import TargetModel
from casspec.runtime.text.grammar import Grammar
from tests.runtime.plain_requests import PlainText, decode_plainly
from tests.runtime.tiny import VOCAB, tiny_target

CHARACTERS = '{}[]":,01abcdeflnrstu\u0120'
PAIRS = [('"', ":"), ("{", '"'), ("a", "b"), ('"', ","), ("\u0120", '"'), ("0", ","), ("ab", "a"), ('"', '"')]
END = VOCAB - 1
"""Its end token."""


@cache
def bracket_tokenizer() -> Any:
    """Writes what JSON of a few letters needs; some texts can be written in several ways."""
    words = [*CHARACTERS, *(first + second for first, second in PAIRS)]
    made = Tokenizer(models.BPE(vocab={word: place for place, word in enumerate(words)}, merges=PAIRS))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, eos_token="</s>")
    assert len(tokenizer) == VOCAB
    assert tokenizer.eos_token_id == END
    return tokenizer


def bracket_target(family: str = "llama", seed: int = 7) -> TargetModel:
    target = tiny_target(family, seed=seed)
    target.tokenizer = bracket_tokenizer()
    return target


def compact(schema: dict[str, Any]) -> Grammar:
    """JSON without white space."""
    return Grammar.json_schema({**schema, "x-guidance": {"whitespace_flexible": False}})


def an_object(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


GRAMMARS = [
    Grammar.json_object(),
    compact(an_object(abstract={"type": "boolean"}, structural={"enum": ["art", "arc", 1]})),
    Grammar.json_schema(an_object(ab={"type": "array", "items": {"type": "null"}, "minItems": 1}, c={"const": "bass"})),
    compact({"type": "array", "items": an_object(a={"type": "string", "maxLength": 3}, bb={"const": [0, 1, 0]})}),
    Grammar("regex", "(ab|ba)*c"),
    Grammar("regex", "[ab]{3,9}"),
    Grammar("regex", "abracadabra (true|false) abracadabra,?"),
    Grammar("lark", 'start: "[" (item ("," item)*)? "]"\nitem: start | "a"+ | "tutu"'),
    Grammar("gbnf", 'root ::= "start:" [ab]* ("," "c"+)* "ends"'),
]
"""Some force long runs, some leave a choice everywhere, some never end by themselves."""


class PlainGrammar:
    """As a processor of the library would have it: a matcher that reads all that was emitted, anew for every token."""

    def __init__(self, grammar: Grammar, n_prompt: int, ends: list[int]) -> None:
        from llguidance import LLMatcher, grammar_from
        from llguidance.hf import from_tokenizer

        self._tokens = from_tokenizer(bracket_tokenizer(), n_vocab=VOCAB)
        self._made = lambda: LLMatcher(self._tokens, grammar_from(grammar.kind, grammar.text))
        self._n_prompt, self._ends = n_prompt, ends

    def matcher(self, tokens: list[int]) -> Any:
        matcher = self._made()
        assert matcher.consume_tokens(tokens), matcher.get_error()
        return matcher

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        matcher = self.matcher(input_ids[0, self._n_prompt :].tolist())
        allowed = np.unpackbits(np.frombuffer(matcher.compute_bitmask(), np.uint8), bitorder="little")[:VOCAB] > 0
        allowed[END] = False
        allowed[self._ends] |= matcher.is_accepting()
        return scores.masked_fill(torch.from_numpy(~allowed), -torch.inf)

    def is_over(self, tokens: list[int]) -> bool:
        return self.matcher(tokens).is_stopped()


def decode_in_grammar(
    target: TargetModel, prompt: list[int], grammar: Grammar, options: dict[str, Any], sequence: int = 0
) -> PlainText:
    """One token at a time."""
    ends = list(options.get("stop_token_ids", ()))
    plain = PlainGrammar(grammar, len(prompt), ends)
    return decode_plainly(target, prompt, options, sequence, last=plain, is_over=plain.is_over)


def is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
