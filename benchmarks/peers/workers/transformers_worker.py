"""transformers' own `generate()`, plain and with its prompt lookup."""

from __future__ import annotations

from typing import Any

import torch
import transformers
from serve import Emit, Generate, serve


class Arrivals:
    """A streamer that passes on how many tokens came; `generate` hands it the prompt first."""

    def __init__(self, emit: Emit) -> None:
        self.emit = emit
        self.seen_prompt = False

    def put(self, tokens: torch.Tensor) -> None:
        if self.seen_prompt:
            self.emit(tokens.numel())
        self.seen_prompt = True

    def end(self) -> None:
        pass


def load(settings: dict[str, Any]) -> tuple[Generate, str]:
    """The model's directory in bfloat16. The checkpoint's own generation settings are left out: they would change text and length."""
    torch.set_num_threads(settings["threads"])
    model = transformers.AutoModelForCausalLM.from_pretrained(settings["model"], dtype=torch.bfloat16).eval()
    model.generation_config = transformers.GenerationConfig()
    lookup = {"prompt_lookup_num_tokens": settings["drafted_tokens"]} if settings["method"] == "prompt-lookup" else {}

    def generate(ids: list[int], n_tokens: int, temperature: float, seed: int, emit: Emit) -> list[int]:
        torch.manual_seed(seed)
        sampling = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {"do_sample": False}
        prompt = torch.tensor([ids])
        with torch.inference_mode():
            whole = model.generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                max_new_tokens=n_tokens,
                streamer=Arrivals(emit),
                **sampling,
                **lookup,
            )
        return whole[0, len(ids) :].tolist()

    return generate, f"transformers {transformers.__version__}, torch {torch.__version__}"


if __name__ == "__main__":
    serve(load)
