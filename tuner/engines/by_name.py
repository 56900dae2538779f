"""Engines by the names they go by on the command line."""

from __future__ import annotations

from casspec.storage.errors import EngineError
from casspec.tuner.engines.protocol import Engine
from casspec.tuner.engines.vllm import Vllm

ENGINES: dict[str, type[Engine]] = {"vllm": Vllm}


def engine_named(name: str) -> Engine:
    """Raises EngineError for one that is not known."""
    if name not in ENGINES:
        raise EngineError(f"no engine '{name}': expected one of {', '.join(ENGINES)}")
    return ENGINES[name]()
