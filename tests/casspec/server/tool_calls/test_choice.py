"""`tools` and `tool_choice`."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from casspec.server.tool_calls.choice import MOST_TOOLS, tool_use
from casspec.server.tool_calls.stream import read_message
from casspec.storage.errors import UnsupportedOption
from tests.casspec.server.tool_calls.samples import FIRST, as_json

HERMES = "{% if tools %}<tool_call>{% endif %}"


class Added(str):
    """An added token."""

    def __new__(cls, text: str, special: bool) -> Added:
        made = super().__new__(cls, text)
        made.special = special
        return made

    special: bool


TOKENIZER = SimpleNamespace(
    chat_template=HERMES,
    added_tokens_decoder={7: Added("<tool_call>", True), 8: Added("</tool_call>", False), 9: Added("</s>", True)},
)


def a_tool(name: str = "get", **function: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **function}}


def test_tools_are_given_to_the_template_and_their_calls_are_read() -> None:
    for choice in (None, "auto"):
        used = tool_use(TOKENIZER, [a_tool(), a_tool("put", parameters={"type": "object"})], choice)
        assert used is not None
        assert used.form.name == "hermes"
        assert [tool["function"]["name"] for tool in used.given] == ["get", "put"]
        assert used.grammar is None
        message = read_message(used.reader(), f"<tool_call>{as_json('get', FIRST)}</tool_call>")
        assert [call.name for _, call in message.calls] == ["get"]


def test_no_tool_is_told_of_where_none_may_be_called() -> None:
    assert tool_use(TOKENIZER, None) is None
    assert tool_use(TOKENIZER, [], "auto") is None
    assert tool_use(TOKENIZER, [a_tool()], "none") is None


def test_a_call_that_has_to_come_has_a_grammar_of_the_tools_it_may_be_of() -> None:
    tools = [a_tool(), a_tool("put")]
    required = tool_use(TOKENIZER, tools, "required")
    named = tool_use(TOKENIZER, tools, {"type": "function", "function": {"name": "put"}})
    assert required is not None
    assert required.grammar is not None
    assert named is not None
    assert named.grammar is not None
    assert '"get"' in required.grammar.text
    assert '"put"' in required.grammar.text
    assert '"get"' not in named.grammar.text
    assert "<[7]>" in named.grammar.text
    assert [tool["function"]["name"] for tool in named.given] == ["get", "put"]


def test_markers_that_are_special_tokens_have_to_be_shown() -> None:
    used = tool_use(TOKENIZER, [a_tool()])
    assert used is not None
    assert used.shown_tokens(TOKENIZER) == [7]


@pytest.mark.parametrize(
    ("tools", "choice", "named"),
    [
        (None, "required", "tool_choice asks for a call and there are no tools"),
        (
            [a_tool()],
            "sometimes",
            r"tool_choice is 'none', 'auto', 'required' or a function of tools by its name \(get\)",
        ),
        ([a_tool()], {"type": "function", "function": {"name": "put"}}, "tool_choice is"),
        ([a_tool()], {"type": "allowed_tools"}, "tool_choice is"),
        ([a_tool()], 3, "tool_choice is"),
        ([{"type": "custom"}], None, r"tools\[0\] is no function"),
        ([a_tool(), 3], None, r"tools\[1\] is no function"),
        ([a_tool("a b")], None, r"tools\[0\].function.name takes"),
        ([a_tool(), a_tool()], None, "two tools are called get"),
        ([a_tool(parameters=[1])], None, r"tools\[0\].function.parameters is a JSON schema"),
        ([a_tool(f"t{place}") for place in range(MOST_TOOLS + 1)], None, "tools takes up to 128"),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_field(tools: Any, choice: Any, named: str) -> None:
    with pytest.raises(UnsupportedOption, match=named) as refusal:
        tool_use(TOKENIZER, tools, choice)
    assert "\n" not in str(refusal.value)


def test_a_model_that_was_not_trained_for_tools_is_refused() -> None:
    with pytest.raises(UnsupportedOption, match="no place for tools"):
        tool_use(SimpleNamespace(chat_template="{{ messages }}"), [a_tool()])
