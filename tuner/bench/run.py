"""End-to-end comparison of decoding methods, side by side in one process.

Timings taken minutes apart on a shared machine cannot be compared, so every prompt is decoded by every method before
the next one's turn, in shuffled order, and every figure is a ratio within the run. Autoregressive decoding takes part
twice: what it differs by from itself is the noise of all other figures.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from casspec.profiler.progress import Progress, silent
from casspec.runtime.decode import Decoder, Generation
from casspec.runtime.model.target import TargetModel
from casspec.runtime.text.chat import has_chat_template
from casspec.storage.errors import ContextOverflow
from casspec.storage.schema import OVERALL, BenchReport, BenchRow, BenchText, Mode
from casspec.tuner.bench.entries import AUTOREGRESSIVE, Entry, TextGenerator
from casspec.tuner.bench.lossless.text_check import TextCheck, text_sha256
from casspec.tuner.bench.requests import SAMPLING_TEMPERATURE, Request, decoded, generate, request
from casspec.tuner.bench.rows import Run, Series, relative_noise, rows_of_task, texts_of
from casspec.tuner.environment import environment
from casspec.tuner.settings import Long
from casspec.tuner.suites.prompts import Prompt
from casspec.tuner.suites.repetition import repetition
from casspec.tuner.suites.token_prompts import Room, TokenPrompt, following, token_prompts

WARM_UP_TOKENS = 8


class BenchInterrupted(KeyboardInterrupt):
    """Ctrl-C during a benchmark; `report` holds the rows of the prompts that every method had finished."""

    def __init__(self, report: BenchReport) -> None:
        super().__init__("interrupted")
        self.report = report


def run_benchmark(
    target: TargetModel,
    prompts: Sequence[Prompt],
    entries: Sequence[Entry],
    modes: Sequence[Mode] = ("sample", "greedy"),
    max_new_tokens: int = 128,
    repeats: int = 1,
    seed: int = 0,
    warm: bool = False,
    progress: Progress = silent,
    settings: dict[str, Any] | None = None,
    long: Long = "skip",
) -> BenchReport:
    """Times every entry on every prompt and compares every text with the autoregressive one.

    Every method emits exactly `max_new_tokens`; prompts that leave no room for them are left out or cut, and named. Later turns of a
    conversation are prompts of their own, each after the autoregressive answers to the turns before, or recorded ones. In float32
    a differing text is judged (`text_check`). In a lower precision near ties flip with the length of a forward, so that
    differing texts are counted and listed with the gap of the scores where they part, and `lossless` stays None.

    Args:
        prompts: of the reporting half.
        entries: from `method_entries` and `peer_entries`; the first is autoregressive.
        warm: drafters keep what they learn from the prompts before, within a mode and repeat; otherwise each request
            starts from the profile's state.
        settings: what else the report's environment should say (suite, profile).
        long: what becomes of prompts that leave no room.

    Raises:
        BenchInterrupted: on Ctrl-C, once every method has decoded one prompt at least.
        ContextOverflow: no prompt leaves room for `max_new_tokens`.
        UnsupportedOption: the model has no tokenizer.
    """
    if not entries or entries[0].method != AUTOREGRESSIVE:
        raise ValueError("the first entry must be autoregressive decoding, the reference")
    asked, room = token_prompts(target, prompts), Room.before(target, max_new_tokens, long)
    fitting = [fitted for prompt in asked if (fitted := room.fitted(prompt)) is not None]
    if not fitting:
        raise ContextOverflow(
            f"no prompt leaves room for {max_new_tokens} new tokens in the model's context of {target.max_context}; "
            "take fewer tokens or shorter prompts"
        )
    has_template = has_chat_template(target.tokenizer)
    race = _Race(target, entries, fitting, modes, max_new_tokens, repeats, seed, warm, progress, room)
    interrupted = False
    try:
        race.run()
    except KeyboardInterrupt:
        race.summarise()
        if not race.rows:
            raise
        interrupted = True
    report_environment = environment(target) | {
        "seed": seed,
        "temperature": SAMPLING_TEMPERATURE,
        "max_new_tokens": max_new_tokens,
        "repeats": repeats,
        "warm": warm,
        "chat_template": has_template and any(prompt.kind == "chat" for prompt in prompts),
        "noise_by_mode": race.noise,
        "prompts": len(fitting),
        "prompts_left_out": [prompt.id for prompt in asked if room.fitted(prompt) is None],
        "turns_left_out": list(race.turns_left_out),
        "prompts_cut": [*(prompt.id for prompt in fitting if prompt.n_cut), *race.turns_cut],
        "divergences": race.divergences,
        "interrupted": interrupted,
    }
    report = BenchReport(
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        rows=tuple(race.rows),
        texts=tuple(race.texts),
        noise=max(race.noise.values()),
        environment=report_environment | (settings or {}),
    )
    if interrupted:
        raise BenchInterrupted(report)
    return report


class _Race:
    """One benchmark under way; the entry at index 0 is the reference, the one at -1 the reference once more."""

    def __init__(
        self,
        target: TargetModel,
        entries: Sequence[Entry],
        prompts: Sequence[TokenPrompt],
        modes: Sequence[Mode],
        max_new_tokens: int,
        repeats: int,
        seed: int,
        warm: bool,
        progress: Progress,
        room: Room,
    ) -> None:
        self.rows: list[BenchRow] = []
        self.texts: list[BenchText] = []
        self.noise: dict[str, float] = {}
        self.turns_left_out: dict[str, None] = {}
        """IDs of later turns for which there was no room."""
        self.turns_cut: dict[str, None] = {}
        self._entries = [*entries, entries[0]]
        self._prompts = prompts
        self._modes = modes
        self._n_tokens = max_new_tokens
        self._repeats = repeats
        self._seed = seed
        self._warm = warm
        self._order = random.Random(seed)
        self._target = target
        self._room = room
        self._check = TextCheck(target)
        self._dtype = target.dtype_name
        self._finished: list[dict[int, Run]] = []
        """Of the mode under way: the runs of one prompt in one repeat, by entry."""
        self._under_way: Mode | None = None
        n_turns = sum(1 + len(prompt.later_turns) for prompt in prompts)
        of_modes = sum(map(len, map(self._takes_part, modes)))
        self._countdown = _Countdown(
            progress, (repeats * n_turns + 1) * of_modes
        )  # each mode begins with a warm-up at full length

    @property
    def divergences(self) -> list[dict[str, Any]]:
        return [found.listed() for found in self._check.divergences]

    def run(self) -> None:
        for mode in self._modes:
            self._under_way = mode
            takes_part = self._takes_part(mode)
            for repeat in range(self._repeats):
                entries = [self._for_repeat(entry) for entry in self._entries]
                for first in self._prompts:
                    prompt: TokenPrompt | None = first
                    while prompt is not None:
                        answer = self._decode(prompt, mode, repeat, entries, takes_part)
                        prompt = self._following(prompt, answer, len(takes_part))
            self.summarise()

    def _decode(
        self, prompt: TokenPrompt, mode: Mode, repeat: int, entries: Sequence[Entry], takes_part: list[int]
    ) -> list[int]:
        """One prompt by every method, in another order than the one before; the reference's text."""
        asked = request(prompt, mode, self._seed)
        self._order.shuffle(takes_part)
        self._warm_up(takes_part, prompt.task, asked, at_full_length=repeat == 0 and not self._finished)
        texts = {}
        for index in takes_part:
            generator = entries[index].generator(prompt.task)
            texts[index] = generate(generator, asked, asked.prompt, self._n_tokens)
            self._countdown.advance(f"{mode}, {prompt.task}")
        self._finished.append(self._compared(prompt, asked, repeat, texts))
        return texts[0].token_ids

    def _following(self, prompt: TokenPrompt, answer: Sequence[int], n_methods: int) -> TokenPrompt | None:
        """The next turn; None where there is none, or no room for it."""
        turn = following(self._target, prompt, answer)
        if turn is None:
            return None
        fitted = self._room.fitted(turn)
        if fitted is None:
            self.turns_left_out |= dict.fromkeys(prompt.later_turns)
            self._countdown.forgo(n_methods * len(prompt.later_turns))
        elif fitted.n_cut:
            self.turns_cut[fitted.id] = None
        return fitted

    def summarise(self) -> None:
        """Rows of what was finished in the mode under way, which ends with that."""
        mode, finished = self._under_way, self._finished
        self._under_way, self._finished = None, []
        if mode is None or not finished:
            return
        runs = {index: [of_prompt[index] for of_prompt in finished] for index in sorted(finished[0])}
        again = len(self._entries) - 1
        self.noise[mode] = relative_noise(runs[0], runs[again])
        baseline = [*runs[0], *runs[again]]
        series = [
            Series(
                entry.method,
                entry.variant,
                mode,
                tuple(runs[index] if index else baseline),
                self._check.of(entry, mode),
                self._check.judges(entry),
            )
            for index, entry in enumerate(self._entries[:again])
            if index in runs
        ]
        for task in [*dict.fromkeys(run.task for run in runs[0]), OVERALL]:
            self.rows += rows_of_task(series, baseline, task, self._dtype)
        self.texts += texts_of(series)

    def _takes_part(self, mode: Mode) -> list[int]:
        return [index for index, entry in enumerate(self._entries) if mode in entry.modes]

    def _for_repeat(self, entry: Entry) -> Entry:
        """The entry; warm, with decoders that learn and have learned nothing yet."""
        if not self._warm:
            return entry
        by_task = {task: _with_memory(generator) for task, generator in entry.by_task.items()}
        return replace(entry, decoder=_with_memory(entry.decoder), by_task=by_task)

    def _warm_up(self, takes_part: Sequence[int], task: str, asked: Request, at_full_length: bool) -> None:
        """Uncounted, by decoders that learn nothing: the kernels and caches that this prompt's shapes need."""
        n_tokens = self._n_tokens if at_full_length else min(WARM_UP_TOKENS, self._n_tokens)
        for index in takes_part:
            decoded(self._entries[index].generator(task), asked, asked.prompt, n_tokens)
            if at_full_length:
                self._countdown.advance(f"{asked.mode}, warming up")

    def _compared(
        self, prompt: TokenPrompt, asked: Request, repeat: int, texts: dict[int, Generation]
    ) -> dict[int, Run]:
        """The runs of one prompt, every text compared with the reference's."""
        runs = {}
        for index, generation in texts.items():
            text = generation.token_ids
            self._check.compare(self._entries[index], prompt.task, asked, texts[0].token_ids, text)
            sha256 = text_sha256(text)
            runs[index] = Run(prompt.id, prompt.task, repeat, generation.statistics, repetition(text), sha256)
        return runs


def _with_memory(generator: TextGenerator) -> TextGenerator:
    return generator.with_memory() if isinstance(generator, Decoder) else generator


class _Countdown:
    """Tells progress with the time that is left, at the speed until now."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._total = total
        self._done = 0
        self._started = time.monotonic()

    def forgo(self, count: int) -> None:
        """So many texts will not be decoded."""
        self._total -= count

    def advance(self, note: str) -> None:
        self._done += 1
        left_s = (time.monotonic() - self._started) / self._done * (self._total - self._done)
        self._progress(self._done, self._total, f"{note}, {duration(left_s)} left")


def duration(seconds: float) -> str:
    """About how long, as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
