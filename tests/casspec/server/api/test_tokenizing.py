"""What is a text and what a conversation is told apart."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from casspec.server.api.tokenizing import DetokenizeRequest, TokenizeRequest, detokenized, tokenized
from casspec.server.errors import ApiError
from tests.casspec.server.serving import SETTINGS

SERVICE: Any = SimpleNamespace(
    settings=SETTINGS,
    engines=SimpleNamespace(target=SimpleNamespace(max_context=9)),
    tokens=SimpleNamespace(
        encoded=lambda text, special: [len(text), int(special)],
        conversation=lambda messages, arguments: [len(messages), len(arguments)],
        decoded=lambda ids: "-".join(map(str, ids)),
        text_of=str,
    ),
)


def test_a_text_and_a_conversation() -> None:
    body = TokenizeRequest(prompt="abc", add_special_tokens=False, return_token_strs=True)
    assert tokenized(SERVICE, body) == {"tokens": [3, 0], "count": 2, "max_model_len": 9, "token_strs": ["3", "0"]}
    said = TokenizeRequest.model_validate(
        {"messages": [{"role": "user", "content": "x"}], "chat_template_kwargs": {"a": 1}, "model": "tiny"}
    )
    assert tokenized(SERVICE, said)["tokens"] == [1, 1]
    assert detokenized(SERVICE, DetokenizeRequest(tokens=[4, 5], model="tiny")) == {"prompt": "4-5"}


@pytest.mark.parametrize("given", [{}, {"prompt": "x", "messages": []}, {"prompt": "x", "chat_template_kwargs": {}}])
def test_neither_or_both_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ApiError):
        tokenized(SERVICE, TokenizeRequest.model_validate(given))
