"""The format of a chat template."""

from __future__ import annotations

import pytest

from casspec.server.tool_calls.formats import FORMATS, format_of
from casspec.storage.errors import UnsupportedOption
from tests.casspec.server.tool_calls.samples import SAMPLES

TEMPLATES = {
    "hermes": '{%- if tools %}...<tools>...return a json object within <tool_call></tool_call> XML tags: <tool_call>\\n{"name": ',
    "qwen3-coder": "{%- if tools %}<tool_call>\\n<function=example_function_name>\\n<parameter=example_parameter_1>",
    "glm": "[gMASK]<sop>{%- if tools -%}<tool_call>{function-name}\\n<arg_key>{arg-key-1}</arg_key>",
    "olmo": "{%- if tools %}<functions>{{ tools }}</functions>{% endif %}<function_calls></function_calls>",
    "llama": "<|start_header_id|>{%- if tools is not none %}{{- '\"parameters\": ' }}{{- tool_call.arguments | tojson }}<|eom_id|>",
    "mistral": "{%- if tools %}[AVAILABLE_TOOLS]{{ tools }}[/AVAILABLE_TOOLS]{%- endif %}[TOOL_CALLS]",
    "mistral-named": "{%- if tools %}[AVAILABLE_TOOLS]{{ tools }}{%- endif %}[TOOL_CALLS]{{ name }}[ARGS]",
    "granite": "{%- if tools %}<|start_of_role|>tools<|end_of_role|>...start with <|tool_call|> followed by a JSON list",
    "phi": "{% if 'tools' in message %}<|system|>{{ content }}<|tool|>{{ message['tools'] }}<|/tool|><|end|>",
    "deepseek-v3": "{% if tools %}<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>{{ name }}\\n```json",
    "deepseek-v3.1": "{% if tools %}<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>{{ name }}<｜tool▁sep｜>{{ arguments }}",
    "gpt-oss": "{%- if tools %}namespace functions{% endif %}<|start|>assistant<|channel|>final<|message|>",
}
"""The parts of templates that tell formats apart."""


def test_every_format_has_a_sample_and_a_template() -> None:
    assert FORMATS.keys() == SAMPLES.keys() == TEMPLATES.keys()


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_is_told_by_the_markers_of_a_template(name: str) -> None:
    assert format_of(TEMPLATES[name]) is FORMATS[name]


def test_other_templates_are_refused() -> None:
    with pytest.raises(UnsupportedOption, match="no place for tools"):
        format_of("{% for message in messages %}<|im_start|>{{ message }}{% endfor %}")
    with pytest.raises(UnsupportedOption, match=r"a format that is not read here; formats read: hermes, .*gpt-oss"):
        format_of("{% if tools %}<minimax:tool_call>{% endif %}")
