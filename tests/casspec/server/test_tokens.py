"""Text and tokens as clients see them, of tokenizers of either kind."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import AutoTokenizer

from casspec.model_names import directory_of
from casspec.server.errors import ApiError
from casspec.server.tokens import Tokens
from casspec.storage.errors import UnsupportedOption


def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(directory_of("reference"))


class Pieces:
    """A tokenizer whose pieces begin words with a mark and write bytes out."""

    def __init__(self) -> None:
        self.pieces = ["\u2581the", "s", "<0xE2>", "<0x82>"]

    def __len__(self) -> int:
        return len(self.pieces)

    def convert_ids_to_tokens(self, token: int) -> str:
        return self.pieces[token]

    def decode(self, ids: list[int], skip_special_tokens: bool) -> str:
        return "".join(self.pieces[one].replace("\u2581", "") for one in ids)


def test_text_goes_to_tokens_and_back() -> None:
    tokens = Tokens(tokenizer(), 4096, "x")
    ids = tokens.encoded("def f(x):\n    return 'é€'")
    assert tokens.decoded(ids) == "def f(x):\n    return 'é€'"
    assert b"".join(bytes(tokens.bytes_of(one)) for one in ids).decode() == "def f(x):\n    return 'é€'"


def test_part_of_a_character_is_written_as_bytes() -> None:
    tokens = Tokens(tokenizer(), 4096, "x")
    parts = [tokens.text_of(one) for one in tokens.encoded("\U0001f9ea")]
    assert any(part.startswith("bytes:\\xf0") for part in parts)
    pieces = Tokens(Pieces(), 4, "x")
    assert [pieces.text_of(one) for one in range(3)] == [" the", "s", "bytes:\\xe2"]


def test_tokens_that_only_the_model_knows_say_nothing() -> None:
    tokens = Tokens(tokenizer(), 5000, "x")
    assert (tokens.text_of(4999), tokens.bytes_of(4999)) == ("", ())


def test_an_empty_prompt_is_the_beginning_of_a_text() -> None:
    assert Tokens(tokenizer(), 4096, "x").prompt("") == [0]


def test_tokens_of_other_models_are_refused() -> None:
    with pytest.raises(ApiError, match="vocabulary of 4096"):
        Tokens(tokenizer(), 4096, "x").decoded([4096])


def test_a_conversation_needs_a_template_that_takes_it() -> None:
    with pytest.raises(ApiError, match="/v1/completions"):
        Tokens(tokenizer(), 4096, "x").conversation([{"role": "user", "content": "x"}], {})
    strict = tokenizer()
    strict.chat_template = "{{ raise_exception('users\nonly') }}"
    with pytest.raises(ApiError, match="users only") as refusal:
        Tokens(strict, 4096, "x").conversation([{"role": "user", "content": "x"}], {})
    assert refusal.value.param == "messages"


def test_a_model_without_tokenizer_cannot_be_served() -> None:
    with pytest.raises(UnsupportedOption, match="'bare' brings no tokenizer"):
        Tokens(None, 31, "bare")
