"""llama.cpp through llama-cpp-python, its high-level interface. No row is reused from the request before."""

from __future__ import annotations

from typing import Any

import llama_cpp
from serve import Emit, Generate, serve


def load(settings: dict[str, Any]) -> tuple[Generate, str]:
    """A GGUF file, with as many threads for prompts as for decoding, and flash attention as llama.cpp has it by default."""
    model = llama_cpp.Llama(
        settings["model"],
        n_ctx=settings["context"],
        n_threads=settings["threads"],
        n_threads_batch=settings["threads"],
        flash_attn=True,
        verbose=False,
    )

    def generate(ids: list[int], n_tokens: int, temperature: float, seed: int, emit: Emit) -> list[int]:
        model.reset()
        model.set_seed(seed)
        new: list[int] = []
        options = {"top_k": 0, "top_p": 1.0, "min_p": 0.0, "repeat_penalty": 1.0}
        for token in model.generate(ids, temp=temperature, **options):
            new.append(token)
            emit(1)
            if len(new) == n_tokens:
                break
        return new

    return generate, f"llama-cpp-python {llama_cpp.__version__}"


if __name__ == "__main__":
    serve(load)
