"""A worker without an engine: its answers follow from the request, and some prompts make it misbehave.

The first token of a prompt says how: 1 exits, 2 raises, 3 never answers, 4 prints beside the protocol.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks" / "peers" / "workers"))

from serve import Emit, Generate, serve


def load(settings: dict[str, Any]) -> tuple[Generate, str]:
    if settings["model"].endswith("broken.gguf"):
        raise ValueError("not a\nmodel")

    def generate(ids: list[int], n_tokens: int, temperature: float, seed: int, emit: Emit) -> list[int]:
        if ids[0] == 1:
            print("out of\nluck", file=sys.stderr)
            os._exit(7)
        if ids[0] == 2:
            raise RuntimeError("cannot\ndo that")
        if ids[0] == 3:
            sys.stdin.read()
        if ids[0] == 4:
            os.write(1, b"an engine's own banner\n")
        new = [(seed + place) % 50 for place in range(n_tokens)]
        for _ in new:
            emit(1)
        return new

    return generate, f"fake 1.0, {settings['method']}"


if __name__ == "__main__":
    serve(load)
