"""Requests made of prompts."""

from __future__ import annotations

from casspec.tuner.engines.asked import CHAT, COMPLETIONS, completion, conversation
from casspec.tuner.suites.prompts import Prompt


def test_a_completion_is_greedy_streamed_and_of_token_ids() -> None:
    asked = completion("m", (1, 2), 8, {"return_token_ids": True})
    assert asked.path == COMPLETIONS
    assert asked.body["prompt"] == [1, 2]
    assert (asked.body["temperature"], asked.body["max_tokens"], asked.body["stream"]) == (0.0, 8, True)
    assert asked.body["return_token_ids"] is True
    assert "ignore_eos" not in asked.body
    assert completion("m", (1,), 8, {}, ignore_end=True).body["ignore_eos"] is True


def test_a_conversation_has_its_system_message_and_a_text_has_none() -> None:
    told = Prompt(id="1", task="t", turns=("hello", "later"), half="reporting", kind="chat", system="be kind")
    chat = conversation("m", told, 8, 0.7, 3)
    assert chat.path == CHAT
    assert chat.body["messages"] == [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hello"}]
    assert (chat.body["temperature"], chat.body["seed"]) == (0.7, 3)
    text = conversation("m", told.model_copy(update={"kind": "text"}), 8, 0.0, 3)
    assert (text.path, text.body["prompt"]) == (COMPLETIONS, "be kind\n\nhello")
    assert (
        conversation("m", told.model_copy(update={"kind": "text", "system": ""}), 8, 0.0, 3).body["prompt"] == "hello"
    )
