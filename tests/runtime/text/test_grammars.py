"""A grammar with every method: the text and the end of plain decoding under it."""

from __future__ import annotations

import json
import random
from functools import cache
from typing import Any

import pytest

from casspec.runtime.batching.engine import BatchEngine
from casspec.runtime.decode import Decoder
from casspec.runtime.decoding.constrained import FORCED
from casspec.runtime.decoding.sequence import Sequence
from casspec.runtime.loading.profiles import LoadedProfile
from casspec.runtime.model.target import TargetModel
from casspec.runtime.policies import METHODS
from casspec.runtime.text.grammar import Grammar
from casspec.storage.errors import UnsupportedOption
from casspec.storage.schema import Precision
from tests.runtime.tiny import FAMILIES, VOCAB, repetitive_prompt, tiny_profile, tiny_target
from tests.runtime.tiny_grammars import (
    END,
    GRAMMARS,
    an_object,
    bracket_target,
    bracket_tokenizer,
    compact,
    decode_in_grammar,
)

RUNNING = [m for m in METHODS if m != "quantised" or tiny_target().refusal(Precision.INT8_DYNAMIC) is None]
FORCING = compact(an_object(abstract={"type": "boolean"}, structural={"const": "abracadabra"}))


@cache
def target_of(family: str) -> TargetModel:
    return bracket_target(family)


@cache
def profile_of(family: str) -> LoadedProfile:
    return tiny_profile(target_of(family))


def some_options(chance: random.Random) -> dict[str, Any]:
    options: dict[str, Any] = {"max_new_tokens": chance.randint(1, 40), "seed": chance.randrange(2**40)}
    options["stop_token_ids"] = chance.choice([[], [END], [END, 3]])
    if chance.random() < 0.6:
        options["temperature"] = chance.choice([0.5, 1.0, 1.5])
        if chance.random() < 0.5:
            options |= chance.choice([{"top_k": 4}, {"top_p": 0.7}, {"min_p": 0.1}, {"typical_p": 0.8}])
    if chance.random() < 0.4:
        options |= {"repetition_penalty": 1.3, "presence_penalty": 0.4, "logit_bias": {4: 2.0, 9: -3.0}}
    if chance.random() < 0.3:
        options["logprobs"] = 2
    return options


@pytest.mark.parametrize("method", RUNNING)
def test_any_text_in_a_grammar_is_that_of_plain_decoding(method: str) -> None:
    chance = random.Random(method)
    for number, grammar in enumerate(GRAMMARS * 2):
        family = chance.choice(FAMILIES)
        options, prompt = some_options(chance), repetitive_prompt(chance.randint(2, 40), seed=number)
        target = target_of(family)
        decoder = Decoder(target, profile_of(family) if number % 2 else None, method)
        found = decoder.generate(prompt, grammar=grammar, **options)
        expected = decode_in_grammar(target, prompt, grammar, options)
        told = f"{family}, {grammar}, {options}"
        assert found.token_ids == expected.token_ids, told
        assert found.finish_reason == expected.finish_reason, told
        mine = [one.logprob for one in found.logprobs]
        assert mine == pytest.approx(expected.logprobs if "logprobs" in options else [], abs=1e-4), told
        statistics = found.statistics
        assert statistics.emitted_tokens == len(found.token_ids) == sum(statistics.accepted_lengths.elements())


@pytest.mark.parametrize("grammar", GRAMMARS)
def test_rows_of_a_tree_masked_all_at_once_come_to_the_same(grammar: Grammar, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a device, which is asked once a step."""
    made = Sequence.__init__

    def as_on_a_device(self: Sequence, *arguments: Any, **named: Any) -> None:
        made(self, *arguments, **named)
        self.on_host = False

    monkeypatch.setattr(Sequence, "__init__", as_on_a_device)
    target, prompt = target_of("llama"), repetitive_prompt(30)
    options = {"max_new_tokens": 30, "temperature": 1.0, "seed": 4, "top_p": 0.8, "stop_token_ids": [END]}
    found = Decoder(target, profile_of("llama"), "dytc").generate(prompt, grammar=grammar, **options)
    assert found.token_ids == decode_in_grammar(target, prompt, grammar, options).token_ids


@pytest.mark.parametrize("method", ["dytc", "prompt-lookup", "layer-sparse", "lookahead", "token-recycling"])
def test_texts_of_a_batch_follow_each_their_own_grammar(method: str) -> None:
    target = target_of("qwen2")
    engine = BatchEngine(Decoder(target, profile_of("qwen2"), method), max_batch=4)
    asked = [
        (repetitive_prompt(9 + place, seed=place), grammar, {"temperature": 0.9 * (place % 2), "seed": place})
        for place, grammar in enumerate(GRAMMARS)
    ]
    shared: dict[str, Any] = {"max_new_tokens": 24, "stop_token_ids": [END]}
    texts = [engine.submit(prompt, grammar=grammar, **shared, **options) for prompt, grammar, options in asked]
    engine.run()
    for text, (prompt, grammar, options) in zip(texts, asked, strict=True):
        expected = decode_in_grammar(target, prompt, grammar, {**shared, **options})
        assert text.result().token_ids == expected.token_ids


def test_a_text_ends_where_nothing_can_follow_and_says_what_the_grammar_says() -> None:
    found = Decoder(target_of("llama"), method="autoregressive").generate(repetitive_prompt(20), 99, grammar=FORCING)
    assert (found.finish_reason, found.stop_reason) == ("stop", None)
    assert json.loads(str(found.text))["structural"] == "abracadabra"


@pytest.mark.parametrize("method", ["prompt-lookup", "layer-sparse", "dytc", "dytc-paper", "token-recycling"])
def test_forced_tokens_are_drafted_without_a_drafter_and_all_accepted(method: str) -> None:
    decoder = Decoder(target_of("llama"), profile_of("llama"), method)
    found = decoder.generate(repetitive_prompt(20), 99, grammar=FORCING).statistics
    assert found.drafted_by[FORCED] == found.accepted_by[FORCED] > 10
    assert found.verify_steps < found.emitted_tokens / 2


def test_plain_decoding_takes_a_step_a_token_within_a_grammar_too() -> None:
    found = Decoder(target_of("llama"), method="autoregressive").generate(repetitive_prompt(20), 99, grammar=FORCING)
    assert found.statistics.verify_steps == found.statistics.emitted_tokens
    assert found.statistics.drafted_tokens == 0


def test_samples_of_a_prompt_follow_the_grammar_each_from_its_beginning() -> None:
    target, prompt = target_of("llama"), repetitive_prompt(20)
    options: dict[str, Any] = {"max_new_tokens": 30, "temperature": 1.0, "seed": 5, "stop_token_ids": [END]}
    texts = Decoder(target, profile_of("llama"), "dytc").samples(prompt, 3, grammar=GRAMMARS[3], **options)
    expected = [decode_in_grammar(target, prompt, GRAMMARS[3], options, sequence) for sequence in range(3)]
    assert [text.token_ids for text in texts] == [text.token_ids for text in expected]


def test_a_grammar_beside_options_that_leave_nothing_is_refused_in_one_line() -> None:
    (only,) = bracket_tokenizer().encode("c")
    with pytest.raises(UnsupportedOption, match="no token that the grammar allows is left") as refusal:
        Decoder(target_of("llama")).generate([1, 2], 9, grammar=Grammar("regex", "c"), suppress_tokens=[only])
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("grammar", "named"),
    [
        (
            {"type": "json_schema", "json_schema": {"schema": {"type": "strange"}}},
            "JSON schema cannot be honoured.*strange",
        ),
        ({"type": "json_schema", "schema": {"not": {}}}, "JSON schema cannot be honoured.*not"),
        (Grammar("regex", "(a"), "regular expression cannot be honoured"),
        (Grammar("lark", "start: missing"), "lark grammar cannot be honoured.*missing"),
        (Grammar("gbnf", "root ::= missing"), "gbnf grammar cannot be honoured.*missing"),
        ({"type": "yaml"}, "no response format of type 'yaml'"),
        ("json", "a grammar is a response format"),
    ],
)
def test_a_grammar_that_cannot_be_honoured_is_refused_before_anything_is_computed(grammar: Any, named: str) -> None:
    with pytest.raises(UnsupportedOption, match=named) as refusal:
        BatchEngine(Decoder(target_of("llama"))).submit([1, 2], grammar=grammar)
    assert "\n" not in str(refusal.value)


def test_a_grammar_needs_a_tokenizer() -> None:
    with pytest.raises(UnsupportedOption, match="needs a fast tokenizer"):
        Decoder(tiny_target()).generate([1, 2], 4, grammar={"type": "json_object"})


def test_tokens_that_the_tokenizer_does_not_have_never_come() -> None:
    target = tiny_target(seed=7, vocab_size=VOCAB + 20)
    target.tokenizer = bracket_tokenizer()
    found = Decoder(target, method="dytc").generate([1, 2, 3], 30, grammar=Grammar("regex", "[abc]*"))
    assert max(found.token_ids) < VOCAB
    assert len(found.token_ids) == 30
