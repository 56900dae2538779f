"""A conversation as token ids."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

import casspec
from casspec.runtime.text.chat import chat_ids, has_chat_template, template_of
from casspec.storage.errors import UnsupportedOption

TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system  messages\\nhere') }}{% endif %}"
    "<{{ m.role }}>{{ m.content }}{{ mark or '' }}\n{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)


def test_messages_go_through_the_template_with_its_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = casspec.load_target("reference").tokenizer
    assert not has_chat_template(tokenizer)
    assert not has_chat_template(None)
    with pytest.raises(UnsupportedOption, match="no chat template"):
        chat_ids(tokenizer, [{"role": "user", "content": "a"}])
    monkeypatch.setattr(tokenizer, "chat_template", TEMPLATE)
    assert has_chat_template(tokenizer)
    said = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert tokenizer.decode(chat_ids(tokenizer, said)) == "<user>a\n<assistant>b\n<assistant>"
    assert tokenizer.decode(chat_ids(tokenizer, said[:1], {"mark": "!"})) == "<user>a!\n<assistant>"
    with pytest.raises(UnsupportedOption, match="refuses this conversation: no system messages here"):
        chat_ids(tokenizer, [{"role": "system", "content": "x"}])
    with pytest.raises(UnsupportedOption, match="tokenize is set already"):
        chat_ids(tokenizer, said[:1], {"tokenize": False})


def test_of_several_templates_the_one_for_tools_counts() -> None:
    assert template_of(SimpleNamespace(chat_template={"default": "a", "tool_use": "b"})) == "b"
    assert template_of(SimpleNamespace(chat_template={"default": "a"})) == "a"
    assert template_of(SimpleNamespace(chat_template="c")) == "c"
    assert template_of(SimpleNamespace(chat_template=None)) == template_of(None) == ""
