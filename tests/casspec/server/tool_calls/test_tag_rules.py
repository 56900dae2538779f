"""Rules of arguments in tags and as Python."""

from __future__ import annotations

import json
from typing import Any

import pytest

from casspec.server.tool_calls.formats import FORMATS
from casspec.server.tool_calls.lark import LarkRules
from casspec.server.tool_calls.stream import read_message
from casspec.server.tool_calls.tag_rules import python_arguments, tag_arguments
from casspec.storage.errors import UnsupportedOption
from tests.casspec.server.tool_calls.test_forced_calls import follows, message, written

TREE = {
    "type": "object",
    "properties": {
        "sort": {"type": "string", "enum": ["oak", "🌲 fir"]},
        "note": {"type": "string", "minLength": 1, "maxLength": 4},
        "size": {"$ref": "#/$defs/size"},
        "tall": {"type": "boolean"},
    },
    "required": ["sort", "tall"],
    "$defs": {"size": {"type": "integer", "minimum": 1}},
}
TAGGED = ["qwen3-coder", "glm"]
ALL = [*TAGGED, "olmo"]


def allowed(name: str, arguments: str, schema: Any = TREE) -> bool:
    form = FORMATS[name]
    return follows(form, message(form, written(form, "get", arguments)), several=False, tools={"get": schema})


@pytest.mark.parametrize("name", ALL)
def test_parameters_come_in_order_and_optional_ones_may_be_missing(name: str) -> None:
    assert allowed(name, '{"sort": "oak", "note": "a\\nb", "size": 3, "tall": true}')
    assert allowed(name, '{"sort": "🌲 fir", "tall": false}')
    assert allowed(name, '{"sort": "oak", "size": 2, "tall": false}')
    assert not allowed(name, '{"tall": true, "sort": "oak"}')
    assert not allowed(name, '{"sort": "oak"}')
    assert not allowed(name, '{"sort": "oak", "tall": true, "more": 1}')


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(
    "wrong",
    ['"sort": "elm"', '"sort": "oak", "note": ""', '"sort": "oak", "note": "abcde"', '"sort": "oak", "size": 0'],
)
def test_values_follow_their_schemas(name: str, wrong: str) -> None:
    assert not allowed(name, f'{{{wrong}, "tall": true}}')


@pytest.mark.parametrize("name", ALL)
def test_what_is_not_described_may_be_anything_unless_that_is_excluded(name: str) -> None:
    for schema in ({"type": "object"}, {}):
        assert allowed(name, "{}", schema)
        assert allowed(name, '{"a": 1, "b": [true, {"c": null}]}', schema)
    assert allowed(name, "{}", {"type": "object", "additionalProperties": False})
    assert not allowed(name, '{"a": 1}', {"type": "object", "additionalProperties": False})


@pytest.mark.parametrize("name", TAGGED)
def test_a_string_holds_no_end_of_what_it_stands_in(name: str) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    form = FORMATS[name]
    for text in ("", "\n", " two\nlines ", "1 < 2 </b>", '"é🌲'):
        call = written(form, "get", '{"a": "HERE"}').replace("HERE", text)
        assert follows(form, call, several=False, tools={"get": schema}), text
        ((_, found),) = read_message(form.reader({"get": schema}), call).calls
        assert json.loads(found.arguments) == {"a": text}
    for end in FORMATS[name].forced.ends:  # type: ignore[union-attr]
        call = written(form, "get", '{"a": "HERE"}').replace("HERE", f"x{end}y")
        assert not follows(form, call, several=False, tools={"get": schema}), end


def an_object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"type": "array"}, "no object"),
        (True, "no object"),
        ({**an_object(a={}), "anyOf": []}, "'anyOf'"),
        ({**an_object(a={}), "required": ["b"]}, "do not describe"),
        (an_object(a={"type": "string", "pattern": "a+"}), "a has 'pattern'"),
        (an_object(**{"a b": {}}), "'a b' is no name"),
        (an_object(a={"type": "string", "enum": ["</parameter>"]}), "tags cannot hold"),
    ],
)
def test_what_tags_cannot_be_held_to_is_refused_in_one_line(schema: Any, says: str) -> None:
    with pytest.raises(UnsupportedOption, match=says) as refusal:
        tag_arguments(LarkRules(None, ()), "get", schema, "<parameter=", ">\n", "\n</parameter>\n", ("</parameter>",))
    assert "\n" not in str(refusal.value)
    assert "the tool get" in str(refusal.value)


@pytest.mark.parametrize(("name", "schema"), [("get-one", {}), ("if", {}), ("get", an_object(**{"a-b": {}}))])
def test_names_that_python_has_not_are_refused(name: str, schema: Any) -> None:
    with pytest.raises(UnsupportedOption, match="in Python"):
        python_arguments(LarkRules(None, ()), name, schema)
