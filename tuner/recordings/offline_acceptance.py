"""How often the target would accept what a plan drafts, measured without bias in one forward a recording.

At run time the rows before a draft are the target's. So the query at position t attends to the target's rows below its
block's start s and to the plan's own rows s..t, all queries of a continuation in parallel: with blocks of one position
this gives the acceptance of a first drafted token, with blocks of `BLOCK` positions the acceptance at every draft depth
t - s + 1. (Scoring a plan over its own rows throughout ranks plans worse.) The drafter uses the noise the text was
sampled with, as it does in decoding.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from casspec.runtime.decoding.acceptance import CellCounter, confidence_bucket
from casspec.runtime.decoding.noise import GumbelNoise
from casspec.runtime.model.forward_input import ForwardInput, bucket
from casspec.runtime.model.kv_cache import KVCache
from casspec.runtime.model.plan import Plan
from casspec.runtime.model.target import TargetModel
from casspec.tuner.recordings.recording import Recording
from casspec.tuner.recordings.teacher_forcing import LONGEST_CHUNK, masked_input, teacher_forced

BLOCK = 8
"""Deepest draft the depth profile covers."""

TRACED_CANDIDATES = 4
"""Proposals kept of each position: a tree drafter adds siblings of its best token."""

RESIDENT_BYTES = 1 << 30
"""Cache rows and noise that stay in memory between trials; recordings past it have the target's rows computed again
each time.
"""


@dataclass(frozen=True, eq=False)
class PlanTrace:
    """What a plan would have drafted at every position of one continuation.

    Attributes:
        token_ids: int32 [n, candidates], best perturbed score first; as many as the meter keeps.
        gaps: float32 [n, candidates], nats from each candidate's perturbed score to the best other one's.
        truth: int32 [n], what the target emitted.
        depths: int16 [n], draft depth each position was scored at, from 1.
        probabilities: float32 [n, candidates], the plan's own of each candidate, without noise; None where nobody asked.
    """

    token_ids: np.ndarray
    gaps: np.ndarray
    truth: np.ndarray
    depths: np.ndarray
    probabilities: np.ndarray | None = None

    @property
    def hits(self) -> np.ndarray:
        """bool [n]: the best candidate is the target's token."""
        return self.token_ids[:, 0] == self.truth


@dataclass(frozen=True, eq=False)
class _Resident:
    """The target's rows of one recording and the noise of its continuation."""

    cache: KVCache
    noise: Tensor | None

    @property
    def n_bytes(self) -> int:
        return self.cache.n_bytes + (0 if self.noise is None else self.noise.numel() * self.noise.element_size())


class AcceptanceMeter:
    """Scores plans on recordings.

    Args:
        seed: of the offset at which the blocks of a depth profile begin.
        resident_bytes: memory for the target's rows; past it they are computed again for each plan.
        candidates: proposals kept of each position. probabilities: keep what the plan gives each, too.
    """

    def __init__(
        self,
        target: TargetModel,
        recordings: Sequence[Recording],
        seed: int = 0,
        block: int = BLOCK,
        resident_bytes: int = RESIDENT_BYTES,
        candidates: int = TRACED_CANDIDATES,
        probabilities: bool = False,
    ) -> None:
        self.recordings = list(recordings)
        self._candidates = candidates
        self._probabilities = probabilities
        self.block = block
        self._target = target
        self._seed = seed
        self._free_bytes = resident_bytes
        self._residents: dict[int, _Resident] = {}
        self._inputs: dict[tuple[int, bool], list[ForwardInput]] = {}

    def first_token(self, plan: Plan, index: int) -> PlanTrace:
        """Every position of recording `index` as the first token of a draft: depth 1 throughout."""
        return self._trace(plan, index, deep=False)

    def depth_profile(self, plan: Plan, index: int) -> PlanTrace:
        """Every position once, at the depth it has in a block of `block` tokens with a seeded offset."""
        return self._trace(plan, index, deep=True)

    def first_token_inputs(self, index: int) -> tuple[KVCache, list[ForwardInput]]:
        """What `first_token` runs plans on: the target's rows of recording `index`, and its masked forwards in order.

        The queries are the continuation's positions; rows past them in the last forward are padding.
        """
        resident = self._resident(index)
        starts = np.arange(len(self.recordings[index].continuation_tokens))
        return resident.cache, self._chunk_inputs(index, False, resident.cache, starts)

    def logits(self, plan: Plan, inputs: ForwardInput, cache: KVCache) -> Tensor:
        """One masked forward, [queries, vocab]."""
        return self._target.forward(inputs, cache, plan)

    def _trace(self, plan: Plan, index: int, deep: bool) -> PlanTrace:
        recording = self.recordings[index]
        resident = self._resident(index)
        truth = recording.continuation_tokens
        starts = self._block_starts(recording) if deep else np.arange(len(truth))
        ids, scores, likely = [], [], []
        with torch.inference_mode():
            for chunk, inputs in zip(
                _chunks(starts), self._chunk_inputs(index, deep, resident.cache, starts), strict=True
            ):
                logits = self.logits(plan, inputs, resident.cache)[: len(chunk)]
                if resident.noise is None:
                    perturbed = recording.sampling.scores(logits)
                else:
                    perturbed = recording.sampling.perturbed(logits, resident.noise[chunk.start : chunk.stop])
                best = perturbed.topk(min(self._candidates, perturbed.shape[-1]), dim=-1)
                if self._probabilities:
                    own = recording.sampling.scores(logits).softmax(-1)
                    likely.append(own.gather(-1, best.indices).cpu().numpy())
                ids.append(best.indices.to(torch.int32).cpu().numpy())
                scores.append(best.values.cpu().numpy())
        values = np.concatenate(scores)
        gaps = values - values[:, :1]
        gaps[:, 0] = values[:, 0] - values[:, 1]
        depths = (np.arange(len(truth)) - starts + 1).astype(np.int16)
        return PlanTrace(np.concatenate(ids), gaps, truth, depths, np.concatenate(likely) if likely else None)

    def _block_starts(self, recording: Recording) -> np.ndarray:
        digest = hashlib.sha256(f"{self._seed}:{recording.mode}:{recording.prompt_id}".encode()).digest()
        offset = digest[0] % self.block
        places = np.arange(len(recording.continuation_tokens))
        return np.maximum((places + offset) // self.block * self.block - offset, 0)

    def _chunk_inputs(self, index: int, deep: bool, cache: KVCache, starts: np.ndarray) -> list[ForwardInput]:
        """Tensors of the masked forwards. Query j has its row in tail slot (text length) + j - (chunk's first j)."""
        key = (index, deep)
        if key in self._inputs:
            return self._inputs[key]
        recording = self.recordings[index]
        text = torch.from_numpy(recording.tokens.astype(np.int64))
        first = len(recording.prompt_tokens) - 1
        inputs = []
        for chunk in _chunks(starts):
            places = torch.arange(chunk.start, chunk.stop)
            begins = torch.from_numpy(starts[chunk.start : chunk.stop])
            below = torch.arange(len(text))[None] < (first + begins)[:, None]
            own = (places[None] >= begins[:, None]) & (places[None] <= places[:, None])
            slots = len(text) + places - chunk.start
            queries = first + places
            inputs.append(masked_input(self._target, cache, text[queries], queries, slots, torch.cat((below, own), 1)))
        if index in self._residents:
            self._inputs[key] = inputs
        return inputs

    def _resident(self, index: int) -> _Resident:
        resident = self._residents.get(index)
        if resident is None:
            resident = self._load(self.recordings[index])
            if resident.n_bytes <= self._free_bytes:
                self._free_bytes -= resident.n_bytes
                self._residents[index] = resident
        return resident

    def _load(self, recording: Recording) -> _Resident:
        target, text = self._target, recording.tokens
        n_queries = len(recording.continuation_tokens)
        cache = target.new_cache(len(text) + bucket(min(n_queries, LONGEST_CHUNK)))
        for _ in teacher_forced(target, text.tolist(), cache):
            pass
        if recording.sampling.greedy:
            return _Resident(cache, None)
        noise = GumbelNoise(recording.seed, target.vocab_size, target.device)
        return _Resident(cache, noise.rows(len(recording.prompt_tokens), n_queries).clone())


def _chunks(starts: np.ndarray) -> list[range]:
    """Places 0..n-1 cut into ranges of at most one bucket that never split a block."""
    n, chunks, first = len(starts), [], 0
    while first < n:
        end = min(first + LONGEST_CHUNK, n)
        if end < n:
            end = int(starts[end])  # the block that holds place `end` begins here
        chunks.append(range(first, end))
        first = end
    return chunks


def acceptance_by_depth(traces: Iterable[PlanTrace], depth: int) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Share of hits at depths 1..depth, and the positions each comes from; shorter where no position was scored so deep."""
    hits, trials = np.zeros(depth + 1, int), np.zeros(depth + 1, int)
    for trace in traces:
        within = trace.depths <= depth
        np.add.at(hits, trace.depths[within], trace.hits[within])
        np.add.at(trials, trace.depths[within], 1)
    scored = trials[1:] > 0
    shares = hits[1:][scored] / trials[1:][scored]
    return tuple(shares.tolist()), tuple(trials[1:][scored].tolist())


def survival_by_depth(traces: Iterable[PlanTrace], depth: int) -> tuple[float, ...]:
    """Probability that a draft's first 1..depth tokens are all accepted: hits come in runs, a product of means misses
    that.

    Blocks at the ends of a text are shorter, so this is the product of the shares surviving each further token among
    the blocks that had one (Kaplan and Meier 1958); it ends where no block that was alive went on.
    """
    at_risk, survived = [0] * depth, [0] * depth
    for trace in traces:
        alive = True
        for place, hit in zip((trace.depths - 1).tolist(), trace.hits.tolist(), strict=True):
            alive = alive or place == 0
            if alive and place < depth:
                at_risk[place] += 1
                survived[place] += hit
            alive = alive and hit
    survival, probability = [], 1.0
    for risk, count in zip(at_risk, survived, strict=True):
        if risk == 0 and probability > 0:
            break
        probability *= count / risk if risk else 0.0
        survival.append(probability)
    return tuple(survival)


def count_confidence(traces: Iterable[PlanTrace], drafter: str, counter: CellCounter) -> None:
    """Adds every candidate of every position as a trial of its confidence cell, under the drafter's table."""
    for trace in traces:
        accepted = trace.token_ids == trace.truth[:, None]
        for gaps, hits in zip(trace.gaps.tolist(), accepted.tolist(), strict=True):
            for gap, hit in zip(gaps, hits, strict=True):
                counter.add(drafter, confidence_bucket(gap), hit)
