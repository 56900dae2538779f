"""`casspec chat`, run as a user runs it."""

from __future__ import annotations

import io
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

import casspec
from casspec.cli.chat import HELP, Conversation, talk
from casspec.cli.main import main
from casspec.runtime.decode import Decoder
from casspec.runtime.model.target import TargetModel
from casspec.runtime.text.chat import chat_ids

TEMPLATE = (
    "{% for m in messages %}# {{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}def{% endif %}"
)
REQUEST = {"max_new_tokens": 12, "defaults": None}


@pytest.fixture
def reference(monkeypatch: pytest.MonkeyPatch) -> TargetModel:
    target = casspec.load_target("reference")
    monkeypatch.setattr(target.tokenizer, "chat_template", TEMPLATE)
    return target


def expected(target: TargetModel, *said: tuple[str, str]) -> str:
    messages = [{"role": role, "content": content} for role, content in said]
    prompt = chat_ids(target.tokenizer, messages)
    return str(Decoder(target, method="autoregressive").generate(prompt, 12).text)


def test_a_reply_goes_on_from_all_that_was_said(reference: TargetModel, capsys: pytest.CaptureFixture[str]) -> None:
    conversation = Conversation(Decoder(reference), REQUEST, system="be brief")
    system = ("system", "be brief")
    first = expected(reference, system, ("user", "one"))
    second = expected(reference, system, ("user", "one"), ("assistant", first), ("user", "two"))
    lines = iter(["one", "", "two", "/reset", "/what", "one", "/exit", "never"])
    talk(conversation, lambda prompt: next(lines))
    out, err = capsys.readouterr()
    assert out == f"{first}\n{second}\n{first}\n"
    assert err.count("12 tokens, ") == 3
    assert err.count(HELP) == 1
    assert "the conversation is forgotten" in err
    assert next(lines) == "never"


def test_ctrl_c_ends_the_reply_and_not_the_session(reference: TargetModel, capsys: pytest.CaptureFixture[str]) -> None:
    class Interrupted(Decoder):
        def generate(self, *arguments: Any, **options: Any) -> Any:
            if options["max_new_tokens"] == 13:
                os.kill(os.getpid(), signal.SIGINT)
            return super().generate(*arguments, **options)

    conversation = Conversation(Interrupted(reference), {**REQUEST, "max_new_tokens": 13})
    conversation.reply("one")
    assert "interrupted]" in capsys.readouterr().err
    assert [message["role"] for message in conversation.messages] == ["user", "assistant"]
    conversation.request = REQUEST
    conversation.reply("two")
    assert "[12 tokens" in capsys.readouterr().err


def test_a_sigterm_ends_the_session_too(reference: TargetModel) -> None:
    class Ended(Decoder):
        def generate(self, *arguments: Any, **options: Any) -> Any:
            os.kill(os.getpid(), signal.SIGTERM)
            return super().generate(*arguments, **options)

    with pytest.raises(KeyboardInterrupt):
        Conversation(Ended(reference), REQUEST).reply("one")


def test_a_message_that_does_not_fit_is_forgotten(reference: TargetModel, capsys: pytest.CaptureFixture[str]) -> None:
    conversation = Conversation(Decoder(reference), REQUEST)
    lines = iter(["word " * 4000, "short", "/exit"])
    talk(conversation, lambda prompt: next(lines))
    err = capsys.readouterr().err
    assert "error: the prompt has" in err
    assert "/reset begins a new conversation" in err
    assert conversation.messages[0]["content"] == "short"


def test_the_command_reads_lines_until_they_end(
    reference: TargetModel, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(vars(casspec), "load_target", lambda name, **where: reference)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"one\n")))
    words = ["chat", "--max-new-tokens", "12", "--storage", str(tmp_path / "store.db"), "--threads", "1"]
    assert main(words) == 0
    assert capsys.readouterr().out == expected(reference, ("user", "one")) + "\n"
    monkeypatch.setattr(reference.tokenizer, "chat_template", None)
    assert main(words) == 2
    assert "brings no chat template" in capsys.readouterr().err
