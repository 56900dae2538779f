"""Formats and tools that are not served are refused by name; what asks for nothing passes."""

from __future__ import annotations

from typing import Any

import pytest

from casspec.server.api.extensions import Format, Tool, format_options, template_tools
from casspec.server.errors import ApiError

TOOL = Tool.model_validate({"type": "function", "function": {"name": "f"}})


def test_what_asks_for_nothing_passes() -> None:
    assert format_options(None, "response_format") == format_options(Format(type="text"), "response_format") == {}
    assert (
        template_tools(None, None, None)
        == template_tools([], "auto", None)
        == template_tools([TOOL], "none", None)
        == {}
    )


def test_a_format_is_refused_by_the_name_of_its_field() -> None:
    with pytest.raises(ApiError, match="json_schema is not served") as refusal:
        format_options(Format.model_validate({"type": "json_schema", "json_schema": {}}), "text.format")
    assert refusal.value.param == "text.format"


@pytest.mark.parametrize(
    ("given", "param"),
    [
        (([TOOL], None, None), "tools"),
        ((None, "required", None), "tool_choice"),
        ((None, {"type": "function"}, None), "tool_choice"),
        ((None, None, True), "parallel_tool_calls"),
    ],
)
def test_tools_are_refused_by_name(given: Any, param: str) -> None:
    with pytest.raises(ApiError) as refusal:
        template_tools(*given)
    assert refusal.value.param == param
