"""Methods in batches: tokens a second of many texts at a time, beside plain decoding of the same batch and transformers' own.

Of one batch size all methods decode the same prompts with the same noise, one method after the other, round by round. Timed is what follows
the prompts: from the moment the last one is computed until the last text has its tokens.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import mean, median
from typing import Any

import torch

from casspec.runtime.batching.engine import BatchEngine
from casspec.runtime.decode import Decoder
from casspec.runtime.latency.predictor import LatencyPredictor
from casspec.runtime.loading.profiles import LoadedProfile
from casspec.runtime.model.forward_input import QUERY_BUCKETS
from casspec.runtime.model.target import TargetModel
from casspec.storage.schema import CASCADE, BatchRow, CascadeProfile, Mode
from casspec.tuner.suites.token_prompts import TokenPrompt

PLAIN = "autoregressive"
PEER = "transformers generate"


def race_batches(
    target: TargetModel,
    profile: LoadedProfile | None,
    methods: Sequence[str],
    prompts: Sequence[TokenPrompt],
    batches: Sequence[int],
    n_tokens: int,
    temperature: float,
    rounds: int,
    seed: int,
    peers: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> list[BatchRow]:
    """Races methods at each batch size; plain decoding always among them.

    Args:
        prompts: repeated where a batch is larger. n_tokens: of each text, past any end.
        peers: also time transformers' batched generate; greedy only, and it takes the library's own weights.
    """
    mode: Mode = "sample" if temperature else "greedy"
    document = profile.document if profile else None
    lengths = [len(prompt.token_ids) + n_tokens // 2 for prompt in prompts]
    entrants: dict[str, Callable[[int], float]] = {}
    for method in dict.fromkeys((PLAIN, *methods)):
        entrants[method] = _engine_run(Decoder(target, profile, method), prompts, n_tokens, temperature, seed)
    if peers and temperature == 0:
        entrants[PEER] = _library_run(target, prompts, n_tokens)
    rows, one = list[BatchRow](), 0.0
    for batch in batches:
        said: dict[str, list[float]] = {name: [] for name in entrants}
        for turn in range(rounds):
            order = list(entrants) if turn % 2 == 0 else list(reversed(entrants))
            for name in order:
                said[name].append(entrants[name](batch))
        one = one or median(said[PLAIN]) / batch
        middle = round(mean(lengths[place % len(lengths)] for place in range(batch)))
        for name, speeds in said.items():
            ratios = [mine / plain for mine, plain in zip(speeds, said[PLAIN], strict=True)]
            speed = median(speeds)
            rows.append(
                BatchRow(
                    method=name,
                    batch=batch,
                    mode=mode,
                    tokens_per_s=speed,
                    over_plain=median(ratios),
                    least=min(ratios),
                    most=max(ratios),
                    over_one=speed / one,
                    token_ms=1e3 * batch / speed,
                    predicted=None if document is None else predicted(document, target, name, batch, mode, middle),
                    rounds=rounds,
                )
            )
            tell(f"batch {batch}, {name}: {speed:,.0f} tokens/s")
    return rows


def predicted(
    profile: CascadeProfile, target: TargetModel, method: str, batch: int, mode: Mode, context_tokens: int
) -> float | None:
    """Tokens/s that a profile predicts of `dytc` and of plain decoding at a batch size; None of others.

    Args:
        context_tokens: committed rows of a text, half-way. Forwards take what they take there, all else what it did on the recordings.
    """
    for one in profile.predicted_by_batch:
        if one.batch == batch and mode in one.tokens_per_s and method in (CASCADE, PLAIN):
            latency, plan = LatencyPredictor(profile.latency, batch), target.full_plan
            there, here = (latency.forward_ms(plan, 1, context) for context in (one.context_tokens, context_tokens))
            plain_ms = 1e3 * batch * one.speedup[mode] / one.tokens_per_s[mode] - there + here
            return 1e3 * batch / plain_ms * (one.speedup[mode] if method == CASCADE else 1.0)
    return None


def _chosen(prompts: Sequence[TokenPrompt], batch: int) -> list[list[int]]:
    return [list(prompts[place % len(prompts)].token_ids) for place in range(batch)]


def _engine_run(
    decoder: Decoder, prompts: Sequence[TokenPrompt], n_tokens: int, temperature: float, seed: int
) -> Callable[[int], float]:
    """Tokens a second of the batch engine at a size."""

    def run(batch: int) -> float:
        # All prompts in one forward, or two: no text is to be nearly over when the last one begins.
        engine = BatchEngine(decoder, batch, prefill_rows=batch * QUERY_BUCKETS[-1], keeps_prefixes=False)
        options: dict[str, Any] = {"max_new_tokens": n_tokens, "temperature": temperature, "stop_token_ids": []}
        texts = [
            engine.submit(prompt, sequence=place, seed=seed, **options)
            for place, prompt in enumerate(_chosen(prompts, batch))
        ]
        while any(not text.has_begun for text in texts):
            engine.step()
        before, begin = engine.n_emitted, time.perf_counter()
        engine.run()
        seconds = time.perf_counter() - begin
        for text in texts:
            text.result()
        return (engine.n_emitted - before) / seconds

    return run


def _library_run(target: TargetModel, prompts: Sequence[TokenPrompt], n_tokens: int) -> Callable[[int], float]:
    """Tokens a second of transformers' generate over a batch that is padded on the left, its prompts not counted."""
    from transformers import GenerationConfig

    model = target.library_model

    def seconds(ids: torch.Tensor, mask: torch.Tensor, n: int) -> float:
        config = GenerationConfig(max_new_tokens=n, min_new_tokens=n, do_sample=False, pad_token_id=0)
        begin = time.perf_counter()
        model.generate(ids, attention_mask=mask, generation_config=config)
        return time.perf_counter() - begin

    def run(batch: int) -> float:
        chosen = _chosen(prompts, batch)
        longest = max(map(len, chosen))
        ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in chosen], device=target.device)
        mask = torch.tensor(
            [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in chosen], device=target.device
        )
        first = seconds(ids, mask, 1)
        return batch * (n_tokens - 1) / max(seconds(ids, mask, n_tokens) - first, 1e-9)

    return run
