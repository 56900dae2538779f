"""`casspec generate --batch`: every prompt of a file, many at a time, a line of JSON each as it ends."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import click

from casspec.cli.console import say
from casspec.cli.interrupt import interruptible

if TYPE_CHECKING:
    from casspec.runtime.batching.engine import BatchedText
    from casspec.runtime.decode import Decoder

GIB = 1 << 30


def generate_batch(
    decoder: Decoder, place: str, request: dict[str, Any], max_batch: int, kv_cache_gib: float | None
) -> None:
    """Decodes the first turns of a suite's prompts with the options of a request.

    A prompt goes through the tokenizer's chat template where it has one. Lines come in the order in which texts end: `id`, `text`,
    `finish_reason`, `prompt_tokens`, `tokens`; of one that failed `id` and `error`. Ctrl-C ends all texts where they stand, which are
    written then.

    Args:
        place: of the suite. kv_cache_gib: memory for caches; None for a share of what is free.

    Raises UnsupportedOption at the end where texts failed.
    """
    from casspec.runtime.batching.engine import BatchEngine
    from casspec.storage.errors import CasspecError, UnsupportedOption
    from casspec.tuner.suites.load import load_suite
    from casspec.tuner.suites.prompts import without_refused
    from casspec.tuner.suites.token_prompts import token_prompts

    suite = without_refused(load_suite(place), decoder.target.tokenizer)
    for note in suite.notes:
        say(note)
    memory = None if kv_cache_gib is None else int(kv_cache_gib * GIB)
    engine = BatchEngine(decoder, max_batch, memory)
    open_texts: dict[str, BatchedText] = {}
    begin, n_tokens, n_failed = time.perf_counter(), 0, 0
    with interruptible() as interruption:
        for prompt in token_prompts(decoder.target, suite.prompts):
            try:
                open_texts[prompt.id] = engine.submit(list(prompt.token_ids), criteria=[interruption], **request)
            except CasspecError as error:
                _write({"id": prompt.id, "error": str(error)})
                n_failed += 1
        while open_texts:
            engine.step()
            for name in [name for name, text in open_texts.items() if text.is_over]:
                text = open_texts.pop(name)
                n_failed += text.error is not None
                n_tokens += _told(name, text)
            if interruption.requested:
                for name, text in open_texts.items():
                    engine.cancel(text)
                    n_tokens += _told(name, text)
                break
    seconds = time.perf_counter() - begin
    say(f"{n_tokens} tokens in {seconds:.1f} s: {n_tokens / seconds:.1f} tokens/s, at most {max_batch} texts at a time")
    if interruption.requested:
        raise KeyboardInterrupt
    if n_failed:
        raise UnsupportedOption(f"{n_failed} of {len(suite.prompts)} prompts failed; their lines say why")


def _told(name: str, text: BatchedText) -> int:
    """Writes what a text came to; the number of its tokens."""
    if text.error is not None:
        _write({"id": name, "error": str(text.error)})
        return 0
    generation = text.generation
    if generation is None:  # cancelled before it began
        return 0
    reason = "cancelled" if text.cancelled else generation.finish_reason
    about = {"prompt_tokens": len(text.planned.prompt), "tokens": len(generation.token_ids)}
    _write({"id": name, "text": generation.text, "finish_reason": reason} | about)
    return len(generation.token_ids)


def _write(line: dict[str, Any]) -> None:
    click.echo(json.dumps(line, ensure_ascii=False))
