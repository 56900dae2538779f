"""Replies that are free until they call."""

from __future__ import annotations

import pytest

from casspec.runtime.text.compiled_grammars import GrammarCompiler
from casspec.server.tool_calls.formats import FORMATS, ToolFormat
from casspec.server.tool_calls.strict_calls import strict_calls
from tests.casspec.server.tool_calls.test_channel_rules import CALL, TEMPLATES
from tests.casspec.server.tool_calls.test_forced_calls import FORCED, THOUGHT, TOOLS, byte_tokenizer, message, written

ANYWHERE = [form for form in FORCED if form.name != "llama"]


def follows(form: ToolFormat, text: str, several: bool = True, is_added: bool = True, is_spelled: bool = False) -> bool:
    """Whether a reply is one the grammar allows, to its end; spelled replies have markers in letters although there are tokens."""
    tokenizer = byte_tokenizer((*form.shown, "<|other|>", "<think>") if is_added else ())
    grammar = strict_calls(form, TOOLS, tokenizer, several)
    state = GrammarCompiler(tokenizer, len(tokenizer)).begin(grammar, [tokenizer.eos_token_id])
    spelled = byte_tokenizer(()).encode(text)
    return state.follows([*(spelled if is_spelled else tokenizer.encode(text)), tokenizer.eos_token_id])


@pytest.mark.parametrize("form", FORCED, ids=lambda form: form.name)
@pytest.mark.parametrize("is_added", [True, False])
def test_a_reply_without_calls_is_free(form: ToolFormat, is_added: bool) -> None:
    for text in ("", "Two lines,\n\nand more: 1 < 2 <b>", " \n", "é 🌲 </too"):
        assert follows(form, text, is_added=is_added), text


@pytest.mark.parametrize("form", FORCED, ids=lambda form: form.name)
def test_special_tokens_of_another_meaning_are_free(form: ToolFormat) -> None:
    assert follows(form, "<|other|>")
    assert follows(form, "<think>Hm.")
    assert follows(form, "Well<|other|><|other|>then")
    call = message(form, written(form, "put", '{"n": 3}'))
    assert follows(form, f"<|other|>{call}")


@pytest.mark.parametrize("form", FORCED, ids=lambda form: form.name)
@pytest.mark.parametrize("is_added", [True, False])
def test_calls_follow_the_schema_of_their_tool(form: ToolFormat, is_added: bool) -> None:
    good, wrong = written(form, "put", '{"n": 3}'), written(form, "put", '{"n": "three"}')
    assert follows(form, message(form, good), is_added=is_added)
    assert not follows(form, message(form, wrong), is_added=is_added)
    assert not follows(form, message(form, good.replace("put", "set")), is_added=is_added)


@pytest.mark.parametrize("form", ANYWHERE, ids=lambda form: form.name)
@pytest.mark.parametrize("is_added", [True, False])
def test_text_may_stand_around_calls(form: ToolFormat, is_added: bool) -> None:
    good, wrong = message(form, written(form, "put", '{"n": 3}')), message(form, written(form, "put", '{"n": []}'))
    assert follows(form, f"Let me see.\n{good}", is_added=is_added)
    assert follows(form, f"Let me see.\n{good}\nDone: {good}!", is_added=is_added)
    assert not follows(form, f"Let me see.\n{wrong}", is_added=is_added)


@pytest.mark.parametrize("form", ANYWHERE, ids=lambda form: form.name)
def test_a_call_that_is_spelled_where_its_marker_is_a_token_is_held_to_its_schema_too(form: ToolFormat) -> None:
    marker = form.blocks.markers[0]  # type: ignore[union-attr]
    assert follows(form, "<tool", is_spelled=True)
    assert not follows(form, f"See. {marker}", is_spelled=True)
    assert not follows(form, f"See. {marker}no call", is_spelled=True)


def test_a_reply_of_calls_alone_begins_with_one() -> None:
    llama = FORMATS["llama"]
    good, wrong = written(llama, "put", '{"n": 3}'), written(llama, "put", '{"n": "3"}')
    for before in ("", " ", "<|python_tag|>"):
        assert follows(llama, before + good), before
        assert not follows(llama, before + wrong), before
    assert follows(llama, f"{good}; {good}")
    assert not follows(llama, f"{good}; {good}", several=False)
    assert not follows(llama, '{"answer": 42}')
    assert follows(llama, 'Look: {"answer": 42}')


def test_a_word_that_is_a_marker_begins_a_call_before_a_bracket_only() -> None:
    phi = FORMATS["phi"]
    assert follows(phi, "import functools\nfunctools.cache, functools")
    assert follows(phi, 'functools[{"name": "put", "arguments": {"n": 3}}]')
    assert not follows(phi, 'functools[{"name": "put", "arguments": {"n": "3"}}]')
    assert not follows(phi, "functools [1]")


def test_channels_are_free_and_calls_in_them_are_not() -> None:
    form = FORMATS["gpt-oss"]
    final = "<|channel|>final<|message|>Three trees.\n"
    for text in (final, THOUGHT + final, CALL, TEMPLATES, THOUGHT + CALL, THOUGHT + TEMPLATES):
        assert follows(form, text), text
    for text in (CALL.replace("3", '"3"'), THOUGHT + TEMPLATES.replace("3", "null"), CALL.replace("put", "set")):
        assert not follows(form, text), text
