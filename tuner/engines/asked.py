"""Requests made of a suite's prompts. What they do not say follows the engine and the model's own generation config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from casspec.tuner.engines.endpoint import Asked
from casspec.tuner.suites.prompts import Prompt

CHAT, COMPLETIONS, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
STREAMED = {"stream": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True}}


def completion(
    model: str, prompt: Sequence[int], n_tokens: int, fields: Mapping[str, Any], ignore_end: bool = False
) -> Asked:
    """A streamed greedy continuation of token ids. `fields`: of the engine's own."""
    body = {"model": model, "prompt": list(prompt), "max_tokens": n_tokens, "temperature": 0.0, **STREAMED, **fields}
    return Asked(COMPLETIONS, body | ({"ignore_eos": True} if ignore_end else {}))


def conversation(model: str, prompt: Prompt, n_tokens: int, temperature: float, seed: int) -> Asked:
    """A prompt's first turn in OpenAI's own fields, for an endpoint of which nothing else is known."""
    body: dict[str, Any] = {
        "model": model,
        "max_tokens": n_tokens,
        "temperature": temperature,
        "seed": seed,
        **STREAMED,
    }
    if prompt.kind == "text":
        return Asked(
            COMPLETIONS, body | {"prompt": f"{prompt.system}\n\n{prompt.text}" if prompt.system else prompt.text}
        )
    told = [{"role": "system", "content": prompt.system}] if prompt.system else []
    return Asked(CHAT, body | {"messages": [*told, {"role": "user", "content": prompt.text}]})
