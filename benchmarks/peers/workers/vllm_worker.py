"""vLLM on the CPU, stepped by hand so that every token's time is known. Its prefix cache is off: rounds ask the same prompts again."""

from __future__ import annotations

import os
from itertools import count
from typing import Any

import vllm
from serve import Emit, Generate, serve
from vllm.sampling_params import RequestOutputKind


def load(settings: dict[str, Any]) -> tuple[Generate, str]:
    """The model's directory in bfloat16."""
    speculation = {
        "method": "ngram",
        "num_speculative_tokens": settings["drafted_tokens"],
        "prompt_lookup_min": 2,
        "prompt_lookup_max": 5,
    }
    llm = vllm.LLM(
        settings["model"],
        dtype="bfloat16",
        max_model_len=settings["context"],
        max_num_seqs=1,
        enable_prefix_caching=False,
        speculative_config=speculation if settings["method"] == "ngram" else None,
    )
    engine, names = llm.llm_engine, count()

    def generate(ids: list[int], n_tokens: int, temperature: float, seed: int, emit: Emit) -> list[int]:
        parameters = vllm.SamplingParams(
            temperature=temperature,
            seed=seed,
            max_tokens=n_tokens,
            ignore_eos=True,
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
        )
        engine.add_request(str(next(names)), {"prompt_token_ids": ids}, parameters)
        new: list[int] = []
        while engine.has_unfinished_requests():
            for output in engine.step():
                came = list(output.outputs[0].token_ids)
                if came:
                    emit(len(came))
                    new += came
        return new

    preloaded = os.environ.get("LD_PRELOAD", "")
    missing = [name for name in ("libiomp", "libtcmalloc") if name not in preloaded]
    return generate, f"vllm {vllm.__version__}" + (f" without {' and '.join(missing)}" if missing else "")


if __name__ == "__main__":
    serve(load)
