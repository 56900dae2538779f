"""Text in pieces is the text as a whole."""

from __future__ import annotations

import random
from typing import Any

import pytest
from transformers import AutoTokenizer, ByT5Tokenizer

import casspec
from casspec.reference import reference_path
from casspec.runtime.model.target import TargetModel
from casspec.runtime.text.detokenize import TextStream, decoded


@pytest.fixture(scope="module")
def reference() -> TargetModel:
    return casspec.load_target("reference")


@pytest.mark.parametrize("seed", range(8))
def test_text_in_pieces_is_the_text_as_a_whole(reference: TargetModel, seed: int) -> None:
    chance = random.Random(seed)
    text = "naïve = '日本語 🤖👩‍👩‍👧 é ü'  # x\n\treturn {1: 2}\n" * 3
    tokens = reference.tokenizer.encode(text)
    start = chance.randrange(6)
    stream = TextStream(reference.tokenizer, tokens[:start])
    pieces, place = [], start
    while place < len(tokens):
        n = chance.randrange(1, 5)
        pieces.append(stream.push(tokens[place : place + n]))
        place += n
    pieces.append(stream.finish())
    before = reference.tokenizer.decode(tokens[:start]).rstrip("\ufffd")  # may end within a character
    assert before + "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces)
    assert sum(map(bool, pieces)) > 10


def test_bytes_that_never_become_a_character_are_shown_in_the_end(reference: TargetModel) -> None:
    tokens = reference.tokenizer.encode("語")
    assert len(tokens) > 1
    stream = TextStream(reference.tokenizer, [])
    assert stream.push(tokens[:1]) == ""
    assert "\ufffd" in stream.finish()
    stream = TextStream(reference.tokenizer, [])
    shown = "".join(stream.push(tokens[:1]) for _ in range(40))
    assert "\ufffd" in shown


def test_end_of_sequence_is_not_part_of_the_text(reference: TargetModel) -> None:
    stream = TextStream(reference.tokenizer, [5])
    assert stream.push(list(reference.eos_token_ids)) + stream.finish() == ""


@pytest.mark.parametrize(
    "tokenizer", [AutoTokenizer.from_pretrained(reference_path()), ByT5Tokenizer()], ids=["fast", "python"]
)
def test_tokens_that_the_tokenizer_does_not_know_say_nothing(tokenizer: Any) -> None:
    known, unknown = tokenizer.encode("ab", add_special_tokens=False), [len(tokenizer), len(tokenizer) + 9]
    assert decoded(tokenizer, [*unknown, *known, *unknown]) == "ab"
    assert decoded(tokenizer, unknown) == ""
    stream = TextStream(tokenizer, unknown)
    assert "".join(stream.push([token]) for token in [unknown[0], *known, unknown[1]]) + stream.finish() == "ab"


@pytest.mark.parametrize("step", [1, 2, 5])
def test_special_tokens_that_are_shown_stand_where_they_were_said(reference: TargetModel, step: int) -> None:
    tokenizer = reference.tokenizer
    end = tokenizer.eos_token_id
    tokens = [*tokenizer.encode("def f():"), end, *tokenizer.encode(" return"), end]
    for shown, name in (((end,), tokenizer.eos_token), ((), "")):
        stream = TextStream(tokenizer, [end], shown)
        pieces = [stream.push(tokens[place : place + step]) for place in range(0, len(tokens), step)]
        assert "".join([*pieces, stream.finish()]) == f"def f():{name} return{name}"
