"""Classes for vLLM's `--speculative-config '{"method": "custom_class", "model": "casspec.engines.vllm.Proposer", ...}'`.

Written for vLLM 0.32. It builds the class with its configuration, calls `load_model` once, and `propose` after each step for the whole
batch. What is proposed changes the speed, never the text: vLLM verifies every token.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from casspec.engines.draft_lengths import LongRunRate, draft_lengths
from casspec.engines.latencies import (
    GROWTH_ELSEWHERE,
    GROWTH_ON_A_PROCESSOR,
    STEPS_OF_A_GUESS,
    STEPS_OF_A_MEASUREMENT,
    GuessedSurface,
    LatencySurface,
    StepCosts,
)
from casspec.engines.result import RESULT_VARIABLE, read_result
from casspec.engines.row_texts import RowText, RowTexts
from casspec.runtime.drafters.chain_trials import ChainAcceptance, table_of
from casspec.runtime.drafters.text_chains import TextMemory, draft
from casspec.storage.errors import UnsupportedOption

MEMORY_VARIABLE = "CASSPEC_ENGINE_MEMORY_TOKENS"
"""Environment variable: tokens of earlier outputs kept for all requests; 0 keeps none."""
MEMORY_TOKENS = 1 << 18
PROBE_VARIABLE = "CASSPEC_PROBE_FILE"
"""Environment variable: the file that tells `Probe` how many tokens to draft, as {"draft_tokens": 4}."""
TRIAL_STEPS, TRIAL_TOKENS = 64, 4
"""Where nothing was measured and nothing drafted for so many steps, one step drafts so many: the cost may have been guessed too high."""

Drafts = list[list[int]]


class Proposer:
    """Drafts chains of the request's own text and of earlier outputs, as many tokens of each as pay at this moment.

    Args:
        vllm_config: vLLM's. clock: seconds.

    Raises MalformedFile and UnsupportedOption, in one line, for a result that cannot be read and a memory size that is none.
    """

    def __init__(self, vllm_config: Any, clock: Callable[[], float] = time.perf_counter) -> None:
        result = read_result(os.environ.get(RESULT_VARIABLE))
        self._most = int(vllm_config.speculative_config.num_speculative_tokens)
        self._most_by_batch = draft_length_limits(vllm_config.speculative_config, self._most)
        self._context = int(vllm_config.model_config.max_model_len)
        self._clock = clock
        self._acceptance = ChainAcceptance(table_of(result.acceptance))
        memory_tokens = _memory_tokens()
        self._memory = TextMemory(memory_tokens)
        self._texts = RowTexts(self._acceptance, self._memory, max(memory_tokens, self._context))
        self._measured = bool(result.latency)
        if result.latency:
            self._costs = StepCosts(LatencySurface(result.latency), STEPS_OF_A_MEASUREMENT)
        else:
            on_a_processor = vllm_config.device_config.device_type == "cpu"
            growth = GROWTH_ON_A_PROCESSOR if on_a_processor else GROWTH_ELSEWHERE
            self._costs = StepCosts(GuessedSurface(growth), STEPS_OF_A_GUESS)
        self._rate = LongRunRate()
        self._began: float | None = None  # when the step that runs now was begun; None where it cannot be told
        self._idle_steps = 0

    def load_model(self, *args: Any, **kwargs: Any) -> None:
        """There is none; vLLM calls it."""

    def propose(
        self,
        sampled_token_ids: Sequence[Sequence[int]],
        num_tokens_no_spec: np.ndarray,
        token_ids_cpu: np.ndarray,
        slot_mappings: Any = None,
    ) -> Drafts:
        """Draft tokens of each row, [] for none.

        Args:
            sampled_token_ids: what the step gave each row, [] where it read a part of a prompt.
            num_tokens_no_spec: [rows or more] tokens of each row, those included.
            token_ids_cpu: [rows or more, context] int32.
        """
        now = self._clock()
        texts = self._texts.follow(sampled_token_ids, num_tokens_no_spec, token_ids_cpu)
        self._observe(now, texts, sampled_token_ids)
        batch = len(texts)
        tokens, masses = np.empty((batch, self._most), np.int32), np.zeros((batch, self._most))
        cells = np.empty(self._most, np.int32)
        for i, text in enumerate(texts):
            if text is not None:
                room = self._context - len(text.text) - 1
                self._draft(text, min(self._most, room), tokens[i], cells, masses[i])
        lengths = self._lengths(masses)
        drafts: Drafts = []
        for i, text in enumerate(texts):
            length = int(lengths[i])
            if text is not None:
                text.drafted = length
            drafts.append(tokens[i, :length].tolist())
        self._began = self._clock() if all(text is not None for text in texts) else None
        return drafts

    def _draft(self, text: RowText, most: int, tokens: np.ndarray, cells: np.ndarray, masses: np.ndarray) -> None:
        """Writes a text's chain; its open one, if any, stays to be scored."""
        if most <= 0:
            return
        trial = text.trial
        odds = self._acceptance.log_odds
        n = draft(text.text.state, self._memory.state, odds, trial.lift, tokens[:most], cells[:most], masses[:most])
        masses[n:] = 0.0
        if not trial.is_open:
            trial.open(tokens[:n].tolist(), cells[:n].tolist())

    def _lengths(self, masses: np.ndarray) -> np.ndarray:
        """[rows] tokens to draft."""
        batch = len(masses)
        masses[:, self._most_by_batch(batch) :] = 0.0
        n = int(np.count_nonzero(masses))
        if n == 0:
            return np.zeros(batch, np.int64)
        costs = self._costs.costs(batch, n)
        lengths = draft_lengths(masses, costs, self._rate.of(batch, float(costs[0])))
        self._idle_steps = 0 if lengths.any() else self._idle_steps + 1
        if self._idle_steps >= TRIAL_STEPS and not self._measured:
            self._idle_steps = 0
            likeliest = int(np.argmax(masses[:, 0]))
            lengths[likeliest] = min(TRIAL_TOKENS, int(np.count_nonzero(masses[likeliest])))
        return lengths

    def _observe(self, now: float, texts: Sequence[RowText | None], sampled: Sequence[Sequence[int]]) -> None:
        """Learns from the step that ends now, if it did nothing but go on with the texts of the step before."""
        if self._began is None or not texts or not all(text is not None and text.continued for text in texts):
            return
        batch, n_drafted = len(texts), sum(text.drafted for text in texts if text is not None)
        self._costs.observe(batch, n_drafted, 1e3 * (now - self._began))
        costs = self._costs.costs(batch, n_drafted)
        self._rate.observe(batch, sum(map(len, sampled)), float(costs[n_drafted] / costs[0]))


class Probe:
    """Drafts exactly as many tokens for every row as a file says, copied from the row: what a step costs by rows and drafted tokens.

    The file is read again when it changes. Without it, nothing is drafted.
    """

    def __init__(self, vllm_config: Any) -> None:
        self._path = os.environ.get(PROBE_VARIABLE)
        if not self._path:
            raise UnsupportedOption(f'{PROBE_VARIABLE} is not set: name a file with {{"draft_tokens": 4}} in it')
        self._most = int(vllm_config.speculative_config.num_speculative_tokens)
        self._context = int(vllm_config.model_config.max_model_len)
        self._changed: tuple[int, int] | None = None
        self._draft_tokens = 0

    def load_model(self, *args: Any, **kwargs: Any) -> None:
        """There is none; vLLM calls it."""

    def propose(
        self,
        sampled_token_ids: Sequence[Sequence[int]],
        num_tokens_no_spec: np.ndarray,
        token_ids_cpu: np.ndarray,
        slot_mappings: Any = None,
    ) -> Drafts:
        """As `Proposer.propose`; fewer tokens only where the context ends."""
        wanted = self._wanted()
        drafts: Drafts = []
        for i, sampled in enumerate(sampled_token_ids):
            n_tokens = int(num_tokens_no_spec[i])
            n = min(wanted, self._context - n_tokens - 1) if sampled else 0
            drafts.append(np.resize(token_ids_cpu[i, :n_tokens], n).tolist() if n > 0 else [])
        return drafts

    def _wanted(self) -> int:
        """Tokens of each row; the last number read stands while a file is being written."""
        assert self._path is not None
        try:
            status = os.stat(self._path)
        except FileNotFoundError:
            self._changed, self._draft_tokens = None, 0
            return 0
        changed = status.st_mtime_ns, status.st_size
        if changed != self._changed:
            try:
                with open(self._path, encoding="utf-8") as file:
                    told = int(json.load(file)["draft_tokens"])
            except (OSError, ValueError, KeyError, TypeError):
                return self._draft_tokens
            self._changed, self._draft_tokens = changed, min(max(told, 0), self._most)
        return self._draft_tokens


def draft_length_limits(speculative_config: Any, most: int) -> Callable[[int], int]:
    """Most tokens of a request by requests in the batch: vLLM gives the table to its own methods only."""
    table = getattr(speculative_config, "num_speculative_tokens_per_batch_size", None) or ()
    ranges = sorted((int(first), int(tokens)) for first, _, tokens in table)

    def limit(batch: int) -> int:
        found = [tokens for first, tokens in ranges if first <= batch]
        return min(found[-1], most) if found else most

    return limit


def _memory_tokens() -> int:
    told = os.environ.get(MEMORY_VARIABLE, "")
    if not told:
        return MEMORY_TOKENS
    if not told.isdecimal():
        raise UnsupportedOption(
            f"{MEMORY_VARIABLE} is {told!r}: expected a number of tokens, 0 to keep no earlier outputs"
        )
    return int(told)
