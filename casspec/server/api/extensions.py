"""Where grammars and tools come in: what they ask of the engine, and how what was said is read.

Neither is served: a request that asks for one is refused by name.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from casspec.server.errors import refused


class Format(BaseModel):
    """`response_format` of chats and completions, `text.format` of responses."""

    model_config = ConfigDict(extra="allow", strict=True)

    type: Literal["text", "json_object", "json_schema"]


class Tool(BaseModel):
    """A function that the model may call."""

    model_config = ConfigDict(extra="allow", strict=True)

    type: Literal["function"]


ToolChoice = Literal["none", "auto", "required"] | dict[str, Any]


def format_options(wanted: Format | None, param: str) -> dict[str, Any]:
    """Options of the engine that make the text one of the format. Raises ApiError for one that is not served."""
    if wanted is not None and wanted.type != "text":
        raise refused(param, f"{wanted.type} is not served; leave it out, or ask for text")
    return {}


def template_tools(tools: list[Tool] | None, choice: ToolChoice | None, parallel: bool | None) -> dict[str, Any]:
    """Arguments of the chat template that tell the model of its tools. Raises ApiError where tools are not served."""
    if tools and choice != "none":
        raise refused(
            "tools", "calls are not read out of what the model says; leave them out, or set tool_choice to none"
        )
    if not tools and choice not in (None, "none", "auto"):
        raise refused("tool_choice", "there are no tools to choose from; leave it out", "invalid_value")
    if not tools and parallel is not None:
        raise refused("parallel_tool_calls", "there are no tools to call; leave it out", "invalid_value")
    return {}
