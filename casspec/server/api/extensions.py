"""What a request says of tools: what the template is given, what the engine, and how the reply is read."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from casspec.server.errors import refused


class Tool(BaseModel):
    """A function that the model may call."""

    model_config = ConfigDict(extra="allow", strict=True)

    type: Literal["function"]


ToolChoice = Literal["none", "auto", "required"] | dict[str, Any]


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
