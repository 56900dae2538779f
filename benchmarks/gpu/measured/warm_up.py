"""What a process does once: compiling, loading kernels, capturing graphs. Told apart, so that no figure contains it."""

from __future__ import annotations

import time

from benchmarks.gpu.forwards import available, with_graphs
from benchmarks.gpu.race import CAPTURES
from benchmarks.gpu.stages import Work
from casspec.runtime.batching.engine import BatchEngine
from casspec.runtime.decode import Decoder
from casspec.runtime.model.target import TargetModel
from casspec.storage.schema import CASCADE

PROMPT = tuple(range(1, 33)) * 2
N_TOKENS = 12
TEXTS = 2


def warm_up(work: Work, target: TargetModel) -> None:
    """Rows: seconds of the first short texts, by forwards; one at a time, then two together."""
    options = {"max_new_tokens": N_TOKENS, "temperature": 0.7, "seed": 0, "stop_token_ids": []}
    for way in available(target):
        for part, texts in (("one text", 1), ("a batch", TEXTS)):
            begin = time.perf_counter()
            with with_graphs(target, way == "graphs"):
                decoder = Decoder(target, method=CASCADE)
                for _ in range(CAPTURES if way == "graphs" else 1):
                    if texts == 1:
                        decoder.generate(list(PROMPT), **options)
                    else:
                        BatchEngine(decoder, texts).generate([list(PROMPT)] * texts, **options)
            work.keep({"part": part, "forwards": way, "seconds": time.perf_counter() - begin})
            work.tell(f"{part}, {way}")
