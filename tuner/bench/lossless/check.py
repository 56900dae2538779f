"""Losslessness of every method over many tokens, apart from speed: `casspec bench --check-lossless`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch

from casspec.profiler.progress import Progress, silent
from casspec.runtime.model.row_check import rows_are_independent
from casspec.runtime.model.target import TargetModel
from casspec.storage.errors import UnsupportedOption
from casspec.storage.schema import Mode
from casspec.tuner.bench.entries import AUTOREGRESSIVE, Entry, TextGenerator
from casspec.tuner.bench.lossless.judge import Difference, Judge, is_lossless
from casspec.tuner.bench.requests import Request, decoded, request
from casspec.tuner.suites.token_prompts import TokenPrompt

LOSSLESS_TOKENS = 20_000


@dataclass
class LosslessRow:
    """Verdict on one method in one mode."""

    method: str
    variant: str
    mode: Mode
    n_tokens: int = 0
    """Tokens compared."""
    differences: list[Difference] = field(default_factory=list)

    @property
    def ties(self) -> int:
        return sum(difference.is_tie for difference in self.differences)

    @property
    def lossless(self) -> bool:
        return is_lossless(self.differences, self.n_tokens)

    @property
    def failed(self) -> bool:
        """Whether a bug was found, after which nothing more is compared."""
        return self.ties < len(self.differences)


class CheckInterrupted(KeyboardInterrupt):
    """Ctrl-C during a check; `rows` say what was compared until then."""

    def __init__(self, rows: list[LosslessRow]) -> None:
        super().__init__("interrupted")
        self.rows = rows


def check_lossless(
    target: TargetModel,
    prompts: Sequence[TokenPrompt],
    entries: Sequence[Entry],
    n_tokens: int = LOSSLESS_TOKENS,
    modes: Sequence[Mode] = ("sample", "greedy"),
    seed: int = 0,
    progress: Progress = silent,
) -> list[LosslessRow]:
    """Compares every method with autoregressive decoding over `n_tokens` tokens a mode.

    Under sampling, prompts are decoded again with other noise until that many tokens were compared. Greedy text is one
    a prompt, so that few prompts may give fewer tokens; the row says how many.

    Args:
        target: in float32, or with rows that are independent of each other (`row_check.py`): then every text must be equal.
        entries: from `method_entries`; the first is autoregressive.

    Raises UnsupportedOption for a target in another precision or a suite without a prompt that fits, CheckInterrupted on Ctrl-C.
    """
    if target.dtype != torch.float32 and not rows_are_independent(target):
        raise UnsupportedOption(
            f"in {target.dtype_name} near ties fall either way on this device; losslessness is checked in float32 here"
        )
    fitting = [prompt for prompt in prompts if len(prompt.token_ids) < target.max_context]
    if not fitting:
        raise UnsupportedOption(f"no prompt is shorter than the model's context of {target.max_context} tokens")
    reference, *judged = entries
    if reference.method != AUTOREGRESSIVE:
        raise ValueError("the first entry must be autoregressive decoding, the reference")
    judge, rows = Judge(target), list[LosslessRow]()
    try:
        for mode in modes:
            mode_rows = [LosslessRow(entry.method, entry.variant, mode) for entry in judged]
            rows += mode_rows
            compared = 0
            for task, asked, n_new in _requests(fitting, mode, n_tokens, target.max_context, seed):
                text = decoded(reference.decoder, asked, asked.prompt, n_new)
                compared += len(text)
                for entry, row in zip(judged, mode_rows, strict=True):
                    if not row.failed:
                        _compare(row, judge, entry.generator(task), asked, text)
                progress(compared, n_tokens, mode)
    except KeyboardInterrupt:
        raise CheckInterrupted([row for row in rows if row.n_tokens]) from None
    return rows


def _compare(row: LosslessRow, judge: Judge, generator: TextGenerator, asked: Request, text: list[int]) -> None:
    def decode(prompt: Sequence[int], count: int) -> list[int]:
        return decoded(generator, asked, prompt, count)

    row.differences += judge.differences(text, decode(asked.prompt, len(text)), asked, decode)
    row.n_tokens += len(text)


def _requests(
    prompts: Sequence[TokenPrompt], mode: Mode, n_tokens: int, max_context: int, seed: int
) -> Iterator[tuple[str, Request, int]]:
    """Tasks, requests, and how many tokens to decode of each, until `n_tokens` are had (greedy: or every prompt was used)."""
    share = math.ceil(n_tokens / len(prompts))
    missing, turn = n_tokens, 0
    while missing > 0 and (turn == 0 or mode == "sample"):
        for prompt in prompts:
            n_new = min(share, max_context - len(prompt.token_ids), missing)
            if n_new > 0:
                missing -= n_new
                yield prompt.task, request(prompt, mode, seed, turn), n_new
        turn += 1
