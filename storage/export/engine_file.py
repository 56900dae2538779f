"""A configuration of an engine as the file that the engine reads, or as words of its command line.

vLLM takes one line of JSON, TensorRT-LLM a file of YAML, SGLang and llama.cpp options. A configuration is a mapping: for the latter of
options without their two dashes.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

USES = {
    "vllm": 'vllm serve MODEL --speculative-config "$(cat FILE)"',
    "sglang": "sglang serve --model-path MODEL $(cat FILE)",
    "tensorrt-llm": "trtllm-serve MODEL --extra_llm_api_options FILE",
    "llama.cpp": "llama-server --model MODEL $(cat FILE)",
}
"""How an engine takes the file."""

OPTIONS = ("sglang", "llama.cpp")
YAML = ("tensorrt-llm",)


def file_text(engine: str, configuration: Mapping[str, Any] | None) -> str:
    """Ends with a line break. None is no speculation: no options, or a file that says nothing of it."""
    if engine in OPTIONS:
        return " ".join(map(shlex.quote, option_words(configuration or {}))) + "\n"
    if engine in YAML:
        return "".join(f"{line}\n" for line in _yaml(configuration)) if configuration else "{}\n"
    return json.dumps(configuration) + "\n"


def option_words(configuration: Mapping[str, Any]) -> list[str]:
    """Words of a command line. True is an option without a value."""
    found = []
    for name, value in configuration.items():
        found.append(f"--{name}")
        if value is not True:
            found.append(value if isinstance(value, str) else json.dumps(value))
    return found


def _yaml(value: Mapping[str, Any], indent: str = "") -> list[str]:
    """Lines of a mapping. Whatever else it holds is JSON, which YAML takes."""
    found = []
    for name, each in value.items():
        if isinstance(each, Mapping) and each:
            found += [f"{indent}{name}:", *_yaml(each, indent + "  ")]
        else:
            found.append(f"{indent}{name}: {json.dumps(each)}")
    return found
