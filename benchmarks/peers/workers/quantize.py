"""Writes a GGUF file in another precision: `quantize.py SOURCE TARGET f16|q8_0|bf16`, by llama.cpp's own quantiser."""

from __future__ import annotations

import sys

import llama_cpp

FILE_TYPES = {"f16": 1, "q8_0": 7, "bf16": 32}
"""llama.cpp's `llama_ftype`."""


def main(source: str, target: str, precision: str) -> int:
    """0 when the file is written."""
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = FILE_TYPES[precision]
    parameters.allow_requantize = True
    return int(llama_cpp.llama_model_quantize(source.encode(), target.encode(), parameters))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
