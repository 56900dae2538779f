"""A server whose tiny model writes calls as Hermes does, and tools for it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from transformers import AutoTokenizer

from casspec.model_names import directory_of
from casspec.runtime.decode import Decoder
from casspec.runtime.model.target import TargetModel
from casspec.server.engines import Engines, Methods
from casspec.server.settings import Settings
from tests.casspec.server.serving import SETTINGS, TEMPLATE, Served, serving
from tests.runtime.tiny import library_model

HERMES = "{% for tool in tools or [] %}<tool_call>{{ tool.function.name }}\n{% endfor %}" + TEMPLATE.replace(
    "{{ m.content }}", "{{ m.content }}{% for c in m.tool_calls or [] %}{{ c.function | tojson }}{% endfor %}"
)
GROWS = {
    "type": "object",
    "properties": {"tall": {"type": "boolean"}, "sort": {"enum": ["oak", "elm"]}},
    "required": ["tall", "sort"],
    "additionalProperties": False,
}


@contextlib.contextmanager
def serving_calls(settings: Settings = SETTINGS) -> Iterator[Served]:
    """Starts it, and stops it."""

    def load() -> Engines:
        tokenizer: Any = AutoTokenizer.from_pretrained(directory_of("reference"))
        tokenizer.chat_template = HERMES
        model = library_model("llama", seed=7, vocab_size=4096, eos_token_id=0, max_position_embeddings=512)
        target = TargetModel(model, tokenizer=tokenizer, name="tiny-llama")
        return Engines(Methods.of(Decoder(target), lambda name: Decoder(target, None, name), ()), settings)

    with serving(settings, load) as running:
        yield running


def is_tree(arguments: str) -> bool:
    """Whether arguments are of `GROWS`."""
    found = json.loads(arguments)
    return list(found) == ["tall", "sort"] and isinstance(found["tall"], bool) and found["sort"] in ("oak", "elm")
