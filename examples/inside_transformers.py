"""The cascade inside transformers: `generate` as you call it already, with one argument more.

    python examples/inside_transformers.py [DIRECTORY]

DIRECTORY holds a model and its tokenizer; without one the bundled model decodes. Greedy tokens are those of `generate` alone. In
float32 they are so to the last one; in bfloat16 two tokens may be equally likely, and rounding then decides.

Give `custom_generate` a profile (`casspec.load_profile("latest")`) and it decodes with the cascade calibrated for this device.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import casspec
from casspec.reference import reference_path

PROMPT = (
    "class Point:\n    def __init__(self, x, y):\n        self.x = x\n        self.y = y\n\n    def __repr__(self):\n"
)


def main(directory: str = str(reference_path())) -> None:
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model: Any = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    inputs = tokenizer(PROMPT, return_tensors="pt", return_token_type_ids=False)
    cascade = casspec.custom_generate()  # keep it: it remembers the decoder of a model

    texts = []
    for name, arguments in {"generate alone": {}, "with the cascade": {"custom_generate": cascade}}.items():
        model.generate(**inputs, max_new_tokens=4, do_sample=False, **arguments)  # the first call prepares
        begin = time.perf_counter()
        ids = model.generate(**inputs, max_new_tokens=96, do_sample=False, **arguments)
        texts.append(ids[0].tolist())
        print(f"{name}: {(time.perf_counter() - begin) * 1e3:.0f} ms")

    print(tokenizer.decode(texts[1], skip_special_tokens=True))
    print("same tokens" if texts[0] == texts[1] else "other tokens: two of them were equally likely")


if __name__ == "__main__":
    main(*sys.argv[1:2])
