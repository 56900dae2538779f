"""Tools that are not served are refused by name; what asks for nothing passes."""

from __future__ import annotations

from typing import Any

import pytest

from casspec.server.api.extensions import Tool, template_tools
from casspec.server.errors import ApiError

TOOL = Tool.model_validate({"type": "function", "function": {"name": "f"}})


def test_what_asks_for_nothing_passes() -> None:
    assert (
        template_tools(None, None, None)
        == template_tools([], "auto", None)
        == template_tools([TOOL], "none", None)
        == {}
    )


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
