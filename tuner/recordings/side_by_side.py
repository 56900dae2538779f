"""Recordings made several at a time: texts that follow different prompts are decoded side by side, a token of each in a forward.

A forward reads the same weights whether one row asks or many do, so that many texts take little longer than one. A prompt is run once
for all its texts, and what the target says is kept as it is said: no text is gone over a second time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from casspec.runtime.decoding.noise import GumbelNoise
from casspec.runtime.decoding.successors import TOP_SUCCESSORS
from casspec.runtime.model.forward_input import CONTEXT_STEP, ForwardInput
from casspec.runtime.model.kv_cache import KVCache
from casspec.runtime.model.target import TargetModel
from casspec.runtime.text.sampling import Sampling
from casspec.storage.schema import Mode
from casspec.tuner.recordings.recording import Recording, prompt_seed
from casspec.tuner.recordings.teacher_forcing import teacher_forced

MOST_TOGETHER = 16
"""Texts side by side; a text more is then hardly cheaper than in the next forward."""

MOST_BYTES = 1 << 30
"""Of the cache of texts side by side; a single text may take more."""


@dataclass(frozen=True)
class TextWanted:
    """A recording to make."""

    prompt_id: str
    task: str
    prompt_tokens: tuple[int, ...]
    mode: Mode


@dataclass(frozen=True)
class _Prefilled:
    """A prompt as the target has read it."""

    cache: KVCache
    ids: np.ndarray
    """int32 [prompt, width], and the logits float32: the best successors after each of its tokens."""
    logits: np.ndarray
    last: Tensor
    """Logits after its last token, [1, vocab]."""


class TextRecorder:
    """Makes recordings of `n_tokens` new tokens each, past any stop token.

    Args:
        temperature: of mode "sample". seed: of the noise.
    """

    def __init__(
        self,
        target: TargetModel,
        n_tokens: int,
        temperature: float,
        seed: int,
        most_together: int = MOST_TOGETHER,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self._target = target
        self._n_tokens = n_tokens
        self._temperature = temperature
        self._seed = seed
        self._most_together = most_together
        self._most_bytes = most_bytes
        self._width = min(TOP_SUCCESSORS, target.vocab_size)

    def __call__(self, wanted: Iterable[TextWanted]) -> Iterator[Recording]:
        """The recordings, in another order than they are asked for: texts of a length are made together."""
        for texts in self._together(wanted):
            yield from self._recorded(texts)

    def _together(self, wanted: Iterable[TextWanted]) -> Iterator[list[TextWanted]]:
        """Cut into what is made at once."""
        texts: list[TextWanted] = []
        for text in sorted(wanted, key=lambda text: (len(text.prompt_tokens), text.prompt_tokens)):
            n_bytes = (len(texts) + 1) * (len(text.prompt_tokens) + self._n_tokens) * self._target.cached_bytes
            if texts and (len(texts) == self._most_together or n_bytes > self._most_bytes):
                yield texts
                texts = []
            texts.append(text)
        if texts:
            yield texts

    @torch.inference_mode()
    def _recorded(self, texts: Sequence[TextWanted]) -> list[Recording]:
        # 1. Each prompt once, whatever its texts.
        prefilled: list[_Prefilled] = []
        for prompt, its_texts in groupby(texts, key=lambda text: text.prompt_tokens):
            prefilled += [self._prefilled(prompt)] * len(list(its_texts))

        # 2. A token of each text a forward.
        rows = _Rows(
            self._target, [one.cache for one in prefilled], [len(t.prompt_tokens) for t in texts], self._n_tokens
        )
        choose = _Choice([self._sampling(text) for text in texts], self._noise(texts))
        logits = torch.cat([one.last for one in prefilled])
        tokens, ids, values = list[np.ndarray](), list[np.ndarray](), list[np.ndarray]()
        for step in range(self._n_tokens):
            chosen = choose(logits, [len(text.prompt_tokens) + step for text in texts])
            logits = self._target.forward(rows.next(chosen), rows.cache, self._target.full_plan)
            best_ids, best_logits = self._successors(logits)
            tokens.append(chosen.numpy())
            ids.append(best_ids)
            values.append(best_logits)
        said = np.stack(tokens, 1), np.stack(ids, 1), np.stack(values, 1)
        return [self._recording(text, one, *parts) for text, one, *parts in zip(texts, prefilled, *said, strict=True)]

    def _prefilled(self, prompt: Sequence[int]) -> _Prefilled:
        target, cache = self._target, self._target.new_cache(len(prompt))
        ids, values, last = list[np.ndarray](), list[np.ndarray](), torch.empty(0)
        for _, hidden in teacher_forced(target, prompt, cache):
            logits = target.read(hidden)
            best_ids, best_logits = self._successors(logits)
            ids.append(best_ids)
            values.append(best_logits)
            last = logits[-1:].clone()
        return _Prefilled(cache, np.concatenate(ids), np.concatenate(values), last)

    def _successors(self, logits: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Of logits [rows, vocab]: int32 and float32 [rows, width], best first."""
        values, indices = logits.float().topk(self._width, dim=-1)
        return indices.to(torch.int32).cpu().numpy(), values.cpu().numpy()

    def _sampling(self, text: TextWanted) -> Sampling:
        return Sampling(temperature=self._temperature if text.mode == "sample" else 0.0)

    def _noise(self, texts: Sequence[TextWanted]) -> list[GumbelNoise]:
        vocab_size, device = self._target.vocab_size, self._target.device
        return [GumbelNoise(prompt_seed(self._seed, text.prompt_id), vocab_size, device) for text in texts]

    def _recording(
        self, text: TextWanted, prompt: _Prefilled, tokens: np.ndarray, ids: np.ndarray, logits: np.ndarray
    ) -> Recording:
        return Recording(
            prompt_id=text.prompt_id,
            task=text.task,
            mode=text.mode,
            seed=prompt_seed(self._seed, text.prompt_id),
            temperature=self._sampling(text).temperature,
            prompt_tokens=np.asarray(text.prompt_tokens, np.int32),
            continuation_tokens=tokens.astype(np.int32),
            top_ids=np.concatenate((prompt.ids, ids)),
            top_logits=np.concatenate((prompt.logits, logits)),
        )


class _Choice:
    """The next token of each text."""

    def __init__(self, sampling: Sequence[Sampling], noise: Sequence[GumbelNoise]) -> None:
        self._noise = noise
        self._rows: dict[Sampling, list[int]] = {}
        for row, one in enumerate(sampling):
            self._rows.setdefault(one, []).append(row)

    def __call__(self, logits: Tensor, positions: Sequence[int]) -> Tensor:
        """int64 [texts] on the host, for logits [texts, vocab] and the positions of the tokens."""
        tokens = torch.empty(len(positions), dtype=torch.int64)
        for sampling, rows in self._rows.items():
            noise = None
            if not sampling.greedy:
                noise = torch.cat([self._noise[row].rows(positions[row], 1) for row in rows])
            tokens[rows] = sampling.tokens(logits[rows], noise).cpu()
        return tokens


class _Rows:
    """Texts side by side in one cache, each at a place of its own."""

    def __init__(self, target: TargetModel, prompts: Sequence[KVCache], lengths: Sequence[int], n_tokens: int) -> None:
        """`prompts` hold the first `lengths` rows of the texts."""
        self._device = target.device
        self.cache = target.new_cache(max(lengths) + n_tokens, len(prompts))
        self._places = torch.tensor(lengths)
        self._first_rows = torch.arange(len(prompts)) * self.cache.slots
        self._mask = torch.full(
            (len(prompts), 1, 1, self.cache.capacity), -torch.inf, dtype=target.dtype, device=self._device
        )
        for text, (prompt, length) in enumerate(zip(prompts, lengths, strict=True)):
            self.cache.copy_rows(prompt, length, text)
            self._mask[text, ..., :length] = 0

    def next(self, tokens: Tensor) -> ForwardInput:
        """The forward over one more token of each, int64 [texts]."""
        places = self._places.clone()
        self._places += 1
        self._mask[torch.arange(len(places)), 0, 0, places] = 0
        length = -(-int(self._places.max()) // CONTEXT_STEP) * CONTEXT_STEP
        return ForwardInput(
            tokens[:, None].to(self._device),
            places[:, None].to(self._device),
            (self._first_rows + places).to(self._device),
            self._mask[..., :length],
            length,
        )
