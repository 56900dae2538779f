"""Which format a model writes calls in, by the markers of its chat template."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from casspec.server.tool_calls.deltas import new_id
from casspec.server.tool_calls.harmony import MARKERS, HarmonyStream
from casspec.server.tool_calls.json_formats import MarkedJson, NamedJson
from casspec.server.tool_calls.pair_formats import Pairs
from casspec.server.tool_calls.stream import BlockFormat, ToolCallReader, ToolCallStream, Tools
from casspec.server.tool_calls.tagged_formats import Tagged, python_calls
from casspec.storage.errors import UnsupportedOption

Shape = Literal["object", "array", "named", "tags", "python"]


@dataclass(frozen=True)
class Forced:
    """How a call that has to come is written: `begin`, its arguments, `end`.

    Attributes:
        arguments: the field of the JSON they are in.
        shape: whether there is JSON of a call, JSON of an array of calls, or arguments alone, the name being in `begin`: as JSON, in
            tags or as Python.
        between: what stands between calls, where each has a JSON of its own. opener, ending: what stands around all of them.
        pair: what stands before, between and after the key and value of a tag. ends: what no value may hold, that of a value first.
    """

    begin: str
    end: str = ""
    arguments: str | None = "arguments"
    shape: Shape = "object"
    between: str = "\n"
    opener: str = ""
    ending: str = ""
    pair: tuple[str, str, str] = ("", "", "")
    ends: tuple[str, ...] = ()


@dataclass(frozen=True)
class ToolFormat:
    """A format.

    Attributes:
        blocks: what reads it; None for gpt-oss.
        shown: markers that a text has to show although the tokenizer calls them special.
        forced: how calls are written; None for gpt-oss.
    """

    name: str
    blocks: BlockFormat | None
    shown: tuple[str, ...] = ()
    forced: Forced | None = None

    def reader(self, tools: Tools | None, make_id: Callable[[], str] = new_id) -> ToolCallReader:
        """For one message.

        Args:
            tools: schemas by name; blocks that call anything else are content. None for any.
        """
        return HarmonyStream(tools, make_id) if self.blocks is None else ToolCallStream(self.blocks, tools, make_id)


_CALLS, _CALL, _SEP = "<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>"
_CALLS_END, _CALL_END = "<｜tool▁calls▁end｜>", "<｜tool▁call▁end｜>"
_DEEPSEEK = (_CALLS, _CALL, _SEP, _CALL_END, _CALLS_END)

FORMATS = {
    one.name: one
    for one in (
        ToolFormat(
            "hermes",
            MarkedJson(("<tool_call>",), "</tool_call>"),
            ("<tool_call>", "</tool_call>"),
            Forced("<tool_call>\n", "\n</tool_call>"),
        ),
        ToolFormat(
            "qwen3-coder",
            Pairs(
                "<tool_call>",
                r"\s*<function=([^>\s]+)>\s*",
                ("<parameter=", ">"),
                "</parameter>",
                "</function>",
                "</tool_call>",
            ),
            ("<tool_call>", "</tool_call>"),
            Forced(
                "<tool_call>\n<function={name}>\n",
                "</function>\n</tool_call>",
                shape="tags",
                pair=("<parameter=", ">\n", "\n</parameter>\n"),
                ends=("</parameter>", "</function>", "</tool_call>"),
            ),
        ),
        ToolFormat(
            "glm",
            Pairs(
                "<tool_call>",
                r"\s*([^\s<]+)\s*",
                ("<arg_key>", "</arg_key>", "<arg_value>"),
                "</arg_value>",
                "</tool_call>",
            ),
            ("<tool_call>", "</tool_call>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"),
            Forced(
                "<tool_call>{name}\n",
                "</tool_call>",
                shape="tags",
                pair=("<arg_key>", "</arg_key>\n<arg_value>", "</arg_value>\n"),
                ends=("</arg_value>", "</tool_call>"),
            ),
        ),
        ToolFormat(
            "olmo",
            Tagged("<function_calls>", "</function_calls>", python_calls),
            ("<function_calls>", "</function_calls>"),
            Forced("{name}(", ")", shape="python", opener="<function_calls>\n", ending="\n</function_calls>"),
        ),
        ToolFormat(
            "llama",
            MarkedJson(("<|python_tag|>", "{", ";"), only_first=True),
            ("<|python_tag|>",),
            Forced("", arguments="parameters", between="; "),
        ),
        ToolFormat(
            "mistral",
            MarkedJson(("[TOOL_CALLS]",)),
            ("[TOOL_CALLS]",),
            Forced("[TOOL_CALLS]", shape="array"),
        ),
        ToolFormat(
            "mistral-named",
            NamedJson(
                "[TOOL_CALLS]",
                r"(?P<name>[^\[\]{}\s]{1,200})(?:\[CALL_ID\][^\[\]{}\s]{1,64})?(?:\[ARGS\]|(?=\{))",
            ),
            ("[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"),
            Forced("[TOOL_CALLS]{name}[ARGS]", shape="named", between=""),
        ),
        ToolFormat(
            "granite",
            MarkedJson(("<|tool_call|>",)),
            ("<|tool_call|>",),
            Forced("<|tool_call|>", shape="array"),
        ),
        ToolFormat(
            "phi",
            MarkedJson(("<|tool_call|>", "functools"), "<|/tool_call|>"),
            ("<|tool_call|>", "<|/tool_call|>"),
            Forced("<|tool_call|>", "<|/tool_call|>", shape="array"),
        ),
        ToolFormat(
            "deepseek-v3",
            NamedJson(
                _CALL,
                rf"function{_SEP}(?P<name>[^\n]{{1,200}})\n```json\n",
                f"```{_CALL_END}",
                _CALLS,
                _CALLS_END,
            ),
            _DEEPSEEK,
            Forced(
                f"{_CALL}function{_SEP}{{name}}\n```json\n",
                f"\n```{_CALL_END}",
                None,
                "named",
                "\n",
                _CALLS,
                _CALLS_END,
            ),
        ),
        ToolFormat(
            "deepseek-v3.1",
            NamedJson(_CALL, rf"(?P<name>[^\n<{{]{{1,200}}){_SEP}", _CALL_END, _CALLS, _CALLS_END),
            _DEEPSEEK,
            Forced(f"{_CALL}{{name}}{_SEP}", _CALL_END, None, "named", "", _CALLS, _CALLS_END),
        ),
        ToolFormat("gpt-oss", None, MARKERS),
    )
}
"""By name."""


def format_of(template: str) -> ToolFormat:
    """The format that a chat template writes calls in.

    Raises UnsupportedOption for a template without a place for tools, and for a format that is none of `FORMATS`.
    """
    if "tools" not in template:
        raise UnsupportedOption(
            "the model's chat template has no place for tools; leave out tools, or use a model trained for them"
        )
    name = _name(template)
    if name is None:
        raise UnsupportedOption(
            "the model's chat template writes tool calls in a format that is not read here; formats read: "
            + ", ".join(FORMATS)
        )
    return FORMATS[name]


def _name(template: str) -> str | None:
    marks = [
        ("gpt-oss", "<|channel|>" in template and "<|message|>" in template),
        ("deepseek-v3", _CALLS in template and "```json" in template),
        ("deepseek-v3.1", _CALLS in template),
        ("mistral-named", "[TOOL_CALLS]" in template and "[ARGS]" in template),
        ("mistral", "[TOOL_CALLS]" in template),
        ("phi", "<|tool|>" in template and "<|/tool|>" in template),
        ("granite", "<|tool_call|>" in template),
        ("glm", "<tool_call>" in template and "<arg_key>" in template),
        ("qwen3-coder", "<tool_call>" in template and "<function=" in template),
        ("hermes", "<tool_call>" in template),
        ("olmo", "<function_calls>" in template),
        ("llama", "<|start_header_id|>" in template and '"parameters"' in template),
    ]
    return next((name for name, found in marks if found), None)
