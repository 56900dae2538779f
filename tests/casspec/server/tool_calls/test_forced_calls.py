"""Calls that have to come."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from casspec.runtime.decode import Decoder
from casspec.runtime.text.compiled_grammars import GrammarCompiler
from casspec.server.tool_calls.forced_calls import forced_calls
from casspec.server.tool_calls.formats import FORMATS, ToolFormat
from casspec.server.tool_calls.stream import read_message
from tests.casspec.server.calling import GROWS, is_tree
from tests.casspec.server.serving import target_of

TOOLS = {
    "get": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "put": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]},
}
FORCED = [form for form in FORMATS.values() if form.forced]
THOUGHT = "<|channel|>analysis<|message|>Rome it is.<|end|><|start|>assistant"


def byte_tokenizer(added: tuple[str, ...]) -> Any:
    """A token a byte, and tokens of their own for markers: special ones and others in turn."""
    words = {word: place for place, word in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    made = Tokenizer(models.BPE(vocab=words, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, eos_token="</s>")
    for place, marker in enumerate(added):
        tokenizer.add_tokens([marker], special_tokens=place % 2 == 0)
    return tokenizer


def written(form: ToolFormat, name: str, arguments: str) -> str:
    """A call as a model of this format writes it."""
    forced = form.forced
    assert forced is not None
    call = f'{{"name": "{name}", "{forced.arguments}": {arguments}}}'
    before, between, after = forced.pair
    told = {key: value if isinstance(value, str) else json.dumps(value) for key, value in json.loads(arguments).items()}
    body = {
        "object": call,
        "array": f"[{call}]",
        "named": arguments,
        "tags": "".join(f"{before}{key}{between}{value}{after}" for key, value in told.items()),
        "python": ", ".join(
            f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in json.loads(arguments).items()
        ),
    }[forced.shape]
    return forced.begin.replace("{name}", name) + body + forced.end


def message(form: ToolFormat, *calls: str) -> str:
    assert form.forced is not None
    return form.forced.opener + form.forced.between.join(calls) + form.forced.ending


def follows(form: ToolFormat, text: str, several: bool, is_added: bool = True, tools: Any = TOOLS) -> bool:
    """Whether a text is one the grammar allows, to its end."""
    tokenizer = byte_tokenizer(form.shown if is_added else ())
    grammar = forced_calls(form, tools, tokenizer, several)
    state = GrammarCompiler(tokenizer, len(tokenizer)).begin(grammar, [tokenizer.eos_token_id])
    return state.follows([*tokenizer.encode(text), tokenizer.eos_token_id])


@pytest.mark.parametrize("form", FORCED, ids=lambda form: form.name)
@pytest.mark.parametrize("is_added", [True, False])
def test_a_forced_message_is_calls_of_the_tools_and_is_read_again(form: ToolFormat, is_added: bool) -> None:
    get, put = written(form, "get", '{"city": "Rome"}'), written(form, "put", '{"n": 3}')
    assert follows(form, message(form, get), several=False, is_added=is_added)
    assert follows(form, message(form, put), several=False, is_added=is_added)
    assert not follows(form, message(form, written(form, "set", "{}")), several=False, is_added=is_added)
    assert not follows(form, message(form, written(form, "put", '{"n": "Rome"}')), several=False, is_added=is_added)
    assert not follows(form, message(form, written(form, "put", "{}")), several=False, is_added=is_added)
    assert not follows(form, "Sure. " + message(form, get), several=True, is_added=is_added)
    found = read_message(form.reader(TOOLS), message(form, get))
    assert [call.name for _, call in found.calls] == ["get"]
    assert found.content == ""


@pytest.mark.parametrize(
    "form", [form for form in FORCED if form.forced and form.forced.shape != "array"], ids=lambda f: f.name
)
def test_several_calls_come_only_where_they_may(form: ToolFormat) -> None:
    text = message(form, written(form, "get", '{"city": "Rome"}'), written(form, "put", '{"n": 3}'))
    assert follows(form, text, several=True)
    assert not follows(form, text, several=False)
    assert len(read_message(form.reader(TOOLS), text).calls) == 2


@pytest.mark.parametrize(
    "form",
    [form for form in FORCED if form.forced and form.forced.shape in ("object", "array", "named")],
    ids=lambda f: f.name,
)
@pytest.mark.parametrize("is_added", [True, False])
def test_forced_json_is_written_as_templates_write_it(form: ToolFormat, is_added: bool) -> None:
    assert not follows(form, message(form, written(form, "get", '{"city": 3}')), several=False, is_added=is_added)
    spaced = written(form, "get", '{"city" : "Rome"}')
    assert not follows(form, message(form, spaced), several=False, is_added=is_added)


def test_a_forced_call_in_a_channel_may_be_thought_about() -> None:
    form = FORMATS["gpt-oss"]
    call = '<|channel|>commentary to=functions.put <|constrain|>json<|message|>{"n": 3}<|call|>'
    assert follows(form, call, several=False)
    assert follows(form, THOUGHT + call, several=False)
    assert not follows(form, THOUGHT, several=False)
    assert not follows(form, call.replace("3", '"3"'), several=False)
    assert not follows(form, call.replace("put", "set"), several=False)
    assert [call.name for _, call in read_message(form.reader(TOOLS), THOUGHT + call).calls] == ["put"]


@pytest.mark.parametrize("form", FORCED, ids=lambda form: form.name)
@pytest.mark.parametrize("method", ["autoregressive", "suffix"])
def test_a_random_model_calls_by_the_schema(form: ToolFormat, method: str) -> None:
    target = target_of()
    grammar = forced_calls(form, {"get": GROWS}, target.tokenizer, several=False)
    decoder = Decoder(target, method=method)
    told = decoder.generate([5, 6, 7], 120, grammar=grammar, temperature=1.5, seed=2, defaults=None)
    ((_, call),) = read_message(form.reader({"get": GROWS}), told.text or "").calls
    assert (told.finish_reason, is_tree(call.arguments)) == ("stop", True)
