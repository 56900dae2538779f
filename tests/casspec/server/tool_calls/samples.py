"""Messages with calls, as every format writes them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from casspec.server.tool_calls.deltas import Message, joined
from casspec.server.tool_calls.formats import FORMATS

TOOLS = {
    "get": {"type": "object", "properties": {"city": {"type": "string"}, "n": {"type": "integer"}}},
    "put": {"type": "object"},
}
FIRST = '{"city": "Paris </tool_call> \\" {[", "n": 3}'
SECOND = '{"k": [1, {"a": null}], "s": "é✓"}'
NAMES_OF = {"two": ["get", "put"], "one": ["get"]}

CALLS, CALLS_END = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
CALL, CALL_END, SEP = "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", "<｜tool▁sep｜>"


def as_json(name: str, arguments: str, field: str = "arguments") -> str:
    return f'{{"name": "{name}", "{field}": {arguments}}}'


def fenced(name: str, arguments: str) -> str:
    return f"{CALL}function{SEP}{name}\n```json\n{arguments}\n```{CALL_END}"


SAMPLES = {
    "hermes": f"Sure.\n<tool_call>\n{as_json('get', FIRST)}\n</tool_call>\n<tool_call>\n{as_json('put', SECOND)}\n</tool_call>\n",
    "llama": f"{as_json('get', FIRST, 'parameters')}; {as_json('put', SECOND, 'parameters')}",
    "mistral": f"Sure.[TOOL_CALLS] [{as_json('get', FIRST)}, {as_json('put', SECOND)}]",
    "mistral-named": f"Sure.[TOOL_CALLS]get[CALL_ID]abc[ARGS]{FIRST}[TOOL_CALLS]put[ARGS]{SECOND}",
    "granite": f"<|tool_call|>[{as_json('get', FIRST)}, {as_json('put', SECOND)}]",
    "phi": f"<|tool_call|>[{as_json('get', FIRST)}]<|/tool_call|> functools[{as_json('put', SECOND)}]",
    "deepseek-v3": f"Sure.{CALLS}{fenced('get', FIRST)}\n{fenced('put', SECOND)}{CALLS_END}",
    "deepseek-v3.1": f"Sure.{CALLS}{CALL}get{SEP}{FIRST}{CALL_END}{CALL}put{SEP}{SECOND}{CALL_END}{CALLS_END}",
    "gpt-oss": "<|channel|>analysis<|message|>Think.<|end|><|start|>assistant<|channel|>commentary<|message|>Sure.<|end|>"
    f"<|start|>assistant<|channel|>commentary to=functions.get <|constrain|>json<|message|>{FIRST}<|call|>"
    f"<|start|>assistant<|channel|>commentary to=functions.put <|constrain|>json<|message|>{SECOND}<|call|>",
    "qwen3-coder": "Sure.\n\n<tool_call>\n<function=get>\n<parameter=city>\nParis\nFrance\n</parameter>\n<parameter=n>\n3\n</parameter>\n"
    '</function>\n</tool_call>\n<tool_call>\n<function=put>\n<parameter=k>\n["a"]\n</parameter>\n</function>\n</tool_call>',
    "glm": "Sure.\n<tool_call>get\n<arg_key>city</arg_key>\n<arg_value>12</arg_value>\n<arg_key>n</arg_key>\n<arg_value>3</arg_value>\n"
    "</tool_call>\n<tool_call>put\n</tool_call>",
    "olmo": 'Sure.\n<function_calls>\nget(city="Paris", n=3)\nput(x=[true, null], y={"a": 1.5})\n</function_calls>',
}


def counted() -> Callable[[], str]:
    numbers = itertools.count()
    return lambda: f"call_{next(numbers)}"


def read(name: str, text: str, cuts: Sequence[int] = ()) -> Message:
    """A message of a format that comes in pieces."""
    reader, deltas = FORMATS[name].reader(TOOLS, counted()), []
    for begin, end in itertools.pairwise([0, *sorted(cuts), len(text)]):
        deltas += reader.push(text[begin:end])
    return joined([*deltas, *reader.finish()])
