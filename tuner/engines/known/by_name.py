"""Engines by the names they go by on the command line."""

from __future__ import annotations

from casspec.storage.errors import EngineError
from casspec.tuner.engines.known.llama_cpp import LlamaCpp
from casspec.tuner.engines.known.sglang import Sglang
from casspec.tuner.engines.known.tensorrt_llm import TensorrtLlm
from casspec.tuner.engines.known.vllm import Vllm
from casspec.tuner.engines.protocol import Engine

ENGINES: dict[str, type[Engine]] = {"vllm": Vllm, "sglang": Sglang, "tensorrt-llm": TensorrtLlm, "llama.cpp": LlamaCpp}


def engine_named(name: str) -> Engine:
    """Raises EngineError for one that is not known."""
    if name not in ENGINES:
        raise EngineError(f"no engine '{name}': expected one of {', '.join(ENGINES)}")
    return ENGINES[name]()
