"""Text and tokens for whoever is not the step thread: a tokenizer of its own, used by one thread at a time."""

from __future__ import annotations

import copy
import re
import threading
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any

from casspec.runtime.text.chat import chat_ids, has_chat_template
from casspec.runtime.text.detokenize import REPLACEMENT, decoded
from casspec.server.errors import ApiError, refused
from casspec.storage.errors import UnsupportedOption

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_WORD_BEGIN = "\u2581"


class Tokens:
    """A model's tokenizer.

    Args:
        vocab_size: of the model, which may have more tokens than its tokenizer.

    Raises UnsupportedOption for a model without one.
    """

    def __init__(self, tokenizer: Any, vocab_size: int, name: str) -> None:
        if tokenizer is None:
            raise UnsupportedOption(f"model '{name}' brings no tokenizer, so it cannot be served")
        self._tokenizer = copy.deepcopy(tokenizer)
        self._vocab_size = vocab_size
        self._lock = threading.Lock()
        self.text_of = lru_cache(maxsize=1 << 16)(self._text_of)
        self.bytes_of = lru_cache(maxsize=1 << 16)(self._bytes_of)

    def encoded(self, text: str, special: bool = True) -> list[int]:
        """Token ids of a text. special: with those that the tokenizer puts around one."""
        with self._lock:
            return list(self._tokenizer.encode(text, add_special_tokens=special))

    def prompt(self, text: str) -> list[int]:
        """Of a text to go on from; the beginning of text alone where it is empty."""
        ids, begin = self.encoded(text), self._tokenizer.bos_token_id
        return ids or ([] if begin is None else [begin])

    def conversation(self, messages: Sequence[Mapping[str, Any]], arguments: Mapping[str, Any]) -> list[int]:
        """Of a conversation, up to where the reply begins. Raises ApiError where the template cannot."""
        if not has_chat_template(self._tokenizer):
            raise ApiError(400, "the model brings no chat template: ask /v1/completions", "messages")
        try:
            with self._lock:
                return chat_ids(self._tokenizer, messages, arguments)
        except UnsupportedOption as error:
            raise ApiError(400, " ".join(str(error).split()), "messages", "invalid_value") from error

    def decoded(self, ids: Sequence[int]) -> str:
        """Text of tokens, special ones written out."""
        self.check(ids, "tokens")
        with self._lock:
            return str(self._tokenizer.decode(list(ids), skip_special_tokens=False))

    def said(self, ids: Sequence[int]) -> str:
        """Text of tokens, special ones left out."""
        with self._lock:
            return decoded(self._tokenizer, list(ids))

    def check(self, ids: Sequence[int], param: str) -> None:
        """Raises ApiError for ids that are none of the model's."""
        if any(not 0 <= token < self._vocab_size for token in ids):
            raise refused(param, f"holds token ids outside the vocabulary of {self._vocab_size}", "invalid_value")

    def _text_of(self, token: int) -> str:
        """Of one token, by itself; of one that is part of a character, its bytes written out."""
        raw = bytes(self.bytes_of(token))
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)

    def _bytes_of(self, token: int) -> tuple[int, ...]:
        """UTF-8 of one token."""
        with self._lock:
            piece = self._tokenizer.convert_ids_to_tokens(token) if token < len(self._tokenizer) else None
            text = "" if piece is None else str(self._tokenizer.decode([token], skip_special_tokens=False))
        if piece is None:
            return ()
        if found := _BYTE_TOKEN.fullmatch(piece):
            return (int(found[1], 16),)
        if REPLACEMENT in text and all(letter in self._byte_letters for letter in piece):
            return tuple(self._byte_letters[letter] for letter in piece)
        if piece.startswith(_WORD_BEGIN):
            text = piece.replace(_WORD_BEGIN, " ")
        return tuple(text.encode("utf-8"))

    @cached_property
    def _byte_letters(self) -> dict[str, int]:
        """The letter that byte-level tokenizers write for each byte (GPT-2)."""
        shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
        hidden = [byte for byte in range(256) if byte not in shown]
        return {chr(byte): byte for byte in shown} | {chr(256 + place): byte for place, byte in enumerate(hidden)}
