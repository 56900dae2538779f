"""The loop of a worker: one JSON document a line on standard input, one answer a line on what was standard output.

The first line says what to load and is answered with `{"ready": true, "engine": ..., "seconds": ...}`. Each later line is a
request, `{"ids": [int], "tokens": int, "temperature": float, "seed": int}`, and its answer holds the new token ids and the
times at which they came. An error is answered with `{"error": ...}`. Whatever the engine prints goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

Emit = Callable[[int], None]
Generate = Callable[[list[int], int, float, int, Emit], list[int]]
"""(prompt ids, new tokens, temperature with 0 for greedy, seed, called with the number of tokens that just came) -> new ids."""
Load = Callable[[dict[str, Any]], tuple[Generate, str]]
"""Settings -> how to generate, and the engine's version with what a reader should know of it."""


def serve(load: Load) -> None:
    """Answers until standard input ends."""
    answers = _own_standard_output()
    settings = json.loads(sys.stdin.readline())
    started = time.perf_counter()
    try:
        generate, about = load(settings)
    except Exception as error:
        _answer(answers, {"error": _one_line(error)})
        raise
    _answer(answers, {"ready": True, "engine": about, "seconds": time.perf_counter() - started})
    for line in sys.stdin:
        try:
            _answer(answers, measured(generate, json.loads(line)))
        except Exception as error:
            _answer(answers, {"error": _one_line(error)})


def measured(generate: Generate, request: dict[str, Any]) -> dict[str, Any]:
    """One request: `ids`, `first_ms` until tokens first came, `first_tokens` of them then, `total_ms` until the last came."""
    arrivals: list[tuple[float, int]] = []
    started = time.perf_counter()
    ids = generate(
        request["ids"],
        request["tokens"],
        request["temperature"],
        request["seed"],
        lambda count: arrivals.append((time.perf_counter(), count)),
    )
    (first, count), (last, _) = arrivals[0], arrivals[-1]
    return {
        "ids": [int(token) for token in ids],
        "first_ms": (first - started) * 1e3,
        "first_tokens": count,
        "total_ms": (last - started) * 1e3,
    }


def _own_standard_output() -> TextIO:
    """What was standard output, while everything printed from here on, by native code too, goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def _answer(answers: TextIO, document: dict[str, Any]) -> None:
    answers.write(json.dumps(document) + "\n")
    answers.flush()


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
