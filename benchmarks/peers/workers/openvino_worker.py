"""OpenVINO GenAI reading a GGUF file. Its prefix cache is off: rounds ask the same prompts again."""

from __future__ import annotations

from typing import Any

import numpy
import openvino
import openvino_genai
from serve import Emit, Generate, serve


class Arrivals(openvino_genai.StreamerBase):
    """Passes on how many tokens came."""

    def __init__(self, emit: Emit) -> None:
        super().__init__()
        self.emit = emit

    def write(self, tokens: int | list[int]) -> openvino_genai.StreamingStatus:
        self.emit(1 if isinstance(tokens, int) else len(tokens))
        return openvino_genai.StreamingStatus.RUNNING

    def end(self) -> None:
        pass


def load(settings: dict[str, Any]) -> tuple[Generate, str]:
    """A GGUF file, on the CPU."""
    scheduler = openvino_genai.SchedulerConfig()
    scheduler.enable_prefix_caching = False
    lookup = {"prompt_lookup": True} if settings["method"] == "prompt-lookup" else {}
    pipeline = openvino_genai.LLMPipeline(
        settings["model"], "CPU", scheduler_config=scheduler, INFERENCE_NUM_THREADS=settings["threads"], **lookup
    )

    def generate(ids: list[int], n_tokens: int, temperature: float, seed: int, emit: Emit) -> list[int]:
        config = openvino_genai.GenerationConfig()
        config.max_new_tokens = n_tokens
        config.ignore_eos = True
        config.do_sample = temperature > 0
        if temperature > 0:
            config.temperature, config.rng_seed = temperature, seed
        if lookup:
            config.num_assistant_tokens, config.max_ngram_size = settings["drafted_tokens"], 3
        prompt = openvino.Tensor(numpy.array([ids], dtype=numpy.int64))
        return list(pipeline.generate(prompt, config, Arrivals(emit)).tokens[0])

    core = openvino.Core()
    compute, cache = (
        core.get_property("CPU", name).to_string() for name in ("INFERENCE_PRECISION_HINT", "KV_CACHE_PRECISION")
    )
    return generate, f"openvino-genai {openvino_genai.__version__}, computes in {compute}, cache in {cache}"


if __name__ == "__main__":
    serve(load)
