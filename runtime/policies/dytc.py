"""DyTC: the dynamic tree cascade (CAS-Spec, arXiv 2510.26843, section 4), with its defects mended.

Each step grows one tree. Retrieval costs no forward, so its candidates are taken in order of the probability that the target will
emit them, for as long as that pays for the growth of the verification (renewal-rate rule): with R the long-run rate in tokens/ms,
the tree with n nodes is worth

    1 + sum of its nodes' probabilities - R * C_verify(bucket(n))

and the best n is verified. A self-drafter's block of k tokens competes by the same rule, its forwards charged.

Retrieval works on the longest n-gram match at *each leaf*, the leaf's path included. A match at text position p offers two things:
the token that followed there, and the target's own top successors recorded there, perturbed with the noise of the position being
drafted. Without a match, the recycled row of the last token serves. Probabilities come from online cells (`runtime/acceptance.py`)
keyed by match length, literal agreement and score gap; they are of disjoint events, so siblings never sum past their parent.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any

import numpy as np

from casspec.runtime.acceptance import (
    MATCH_BUCKET,
    N_GAP,
    UNSCORED,
    AcceptanceTable,
    gap_bucket,
    match_bucket,
    retrieval_cell,
    retrieval_prior_means,
)
from casspec.runtime.drafters.prompt_lookup import PromptLookup
from casspec.runtime.drafters.token_recycling import RecyclingMatrix, Row, TokenRecycling
from casspec.runtime.latency import LatencyPredictor, builtin_latency
from casspec.runtime.policies.base import Outcome
from casspec.runtime.sequence import Sequence
from casspec.runtime.target import QUERY_BUCKETS
from casspec.runtime.tree import CandidateTree
from casspec.storage.schema import AcceptancePrior

if TYPE_CHECKING:
    from casspec.runtime.policies import Ingredients

Candidate = tuple[int, int]
"""(token, acceptance cell)."""


class DyTC:
    """Policy of the cascade. Parameters beyond the ingredients are tuned by replay.

    Args:
        max_nodes: largest tree.
        max_depth: deepest node.
        max_ngram: longest n-gram looked up.
        branch: candidates offered under one node.
        rate_decay: weight of the past in the running rate R.
        start_speedup: R starts at this many times the autoregressive rate.
    """

    needs_top = True

    def __init__(
        self,
        verify_ms: Any,
        matrix: RecyclingMatrix | None = None,
        prior: AcceptancePrior | None = None,
        max_nodes: int = 32,
        max_depth: int = 12,
        max_ngram: int = 4,
        branch: int = 5,
        rate_decay: float = 0.98,
        start_speedup: float = 1.5,
        min_mass: float = 0.02,
    ) -> None:
        self._verify_ms = verify_ms
        self._lookup = PromptLookup(max_ngram, 1, most_recent=True)
        self._recycling = TokenRecycling(matrix)
        self._table = AcceptanceTable("retrieval", retrieval_prior_means(), prior)
        self._buckets = [size for size in QUERY_BUCKETS if size <= max_nodes]
        self._max_depth = max_depth
        self._branch = branch
        self._rate_decay = rate_decay
        self._start_speedup = start_speedup
        self._min_mass = min_mass
        self._rows: list[Row] = []
        self._offered: dict[int, list[Candidate]] = {}

    @classmethod
    def build(cls, ingredients: Ingredients, **parameters: Any) -> DyTC:
        profile, target = ingredients.profile, ingredients.target
        predictor = LatencyPredictor(profile.latency if profile else builtin_latency(target))
        prior = (
            next((entry for entry in profile.acceptance if entry.mode == ingredients.mode), None) if profile else None
        )

        def verify_ms(n_tokens: int, context_tokens: int) -> float:
            return predictor.forward_ms(target.full_plan, n_tokens, context_tokens)

        return cls(verify_ms, ingredients.matrix, prior, **parameters)

    def begin(self, sequence: Sequence) -> None:
        ids, logits = sequence.prompt_top
        self._rows = list(zip(ids, logits, strict=True))
        self._lookup.begin(sequence.tokens)
        self._recycling.begin()
        self._recycling.refresh(sequence.tokens[: len(ids)], ids, logits)
        self._table.reset()
        step_ms = self._verify_ms(1, sequence.committed)
        # Ten autoregressive steps' worth of belief in the start rate.
        self._rate_tokens, self._rate_ms = 10.0 * self._start_speedup, 10.0 * step_ms

    def draft(self, sequence: Sequence, max_depth: int) -> CandidateTree:
        tokens = sequence.tokens
        tree = CandidateTree(tokens[-1])
        self._offered = {}
        max_depth = min(max_depth, self._max_depth)
        if max_depth < 1:
            return tree
        context = sequence.committed
        rate = self._rate_tokens / self._rate_ms
        costs = [rate * self._verify_ms(size, context) for size in self._buckets]
        noise = sequence.noise_rows(max_depth)
        inverse_temperature = 1.0 if noise is None else 1.0 / sequence.sampling.temperature
        max_ngram, estimate = self._lookup.max_ngram, self._table.estimate

        suffix = tuple(tokens[-max_ngram:])
        position, length = self._lookup.match(suffix)
        if length == max_ngram:
            length = self._longer(tokens, position, length)
        # Per node of the tree: the tokens it ends with, and where they occurred before.
        suffixes, matches = [suffix], [(position, length)]
        heap: list[tuple[float, int, int, int]] = []
        serial = 0
        node, mass = 0, 1.0
        gain, best_value, best_nodes, place = 0.0, -costs[0], 1, 0
        while True:
            # 1. Offer the continuations of the node just added.
            if tree.depths[node] < max_depth:
                gumbel = None if noise is None else noise[tree.depths[node]]
                for token, cell in self._expand(node, suffixes[node][-1], matches[node], gumbel, inverse_temperature):
                    candidate = mass * estimate[cell]
                    if candidate > self._min_mass:
                        heapq.heappush(heap, (-candidate, serial, node, token))
                        serial += 1
            if not heap:
                break
            # 2. At a full bucket, go on only if some larger bucket can still pay.
            size = len(tree)
            if size >= self._buckets[place]:
                value = gain - costs[place]
                if value > best_value:
                    best_value, best_nodes = value, size
                top = -heap[0][0]
                if not any(
                    gain + top * (larger - size) - cost > best_value
                    for larger, cost in zip(self._buckets[place + 1 :], costs[place + 1 :], strict=True)
                ):
                    break
                place += 1
            # 3. Take the most probable candidate.
            negative, _, parent, token = heapq.heappop(heap)
            mass = -negative
            position, length = matches[parent]
            literal = length > 0 and position < len(self._lookup.text) and self._lookup.text[position] == token
            node = tree.add(parent, token, PromptLookup.name if literal else TokenRecycling.name, mass)
            gain += mass
            suffix = (*suffixes[parent], token)[-max_ngram:]
            suffixes.append(suffix)
            matches.append(
                (position + 1, length + 1)
                if literal and position + 1 < len(self._lookup.text)
                else self._lookup.match(suffix)
            )
        if len(tree) > best_nodes and gain - costs[place] <= best_value:
            tree.truncate(best_nodes)
        return tree

    def observe(self, sequence: Sequence, outcome: Outcome) -> None:
        path, emitted = outcome.path, outcome.emitted
        ids, logits = outcome.verified.rows(path)
        self._rows.extend(zip(ids, logits, strict=True))
        self._recycling.refresh([outcome.tree.tokens[node] for node in path], ids, logits)
        self._lookup.extend(emitted)
        update = self._table.update
        for node, token in zip(path, emitted, strict=True):
            for candidate, cell in self._offered.get(node, ()):
                update(cell, candidate == token)
        decay = self._rate_decay
        cost = self._verify_ms(len(outcome.tree), sequence.committed)
        self._rate_tokens = self._rate_tokens * decay + len(emitted)
        self._rate_ms = self._rate_ms * decay + cost

    def _expand(
        self, node: int, token: int, match: tuple[int, int], gumbel: np.ndarray | None, inverse_temperature: float
    ) -> list[Candidate]:
        """Candidates under a node, most promising first, and a note of them for the shadow score."""
        position, length = match
        text = self._lookup.text
        literal = text[position] if length and position < len(text) else -1
        row = self._rows[position - 1] if length and position <= len(self._rows) else self._recycling.row(token)
        bucket = MATCH_BUCKET[length] if length < 64 else match_bucket(length)
        offered: list[Candidate] = []
        if row is not None:
            ids, logits = row
            if gumbel is None:
                scored = list(zip(logits, ids, strict=True))
            else:
                noise = gumbel[ids].tolist()
                scored = [(value * inverse_temperature + g, i) for value, g, i in zip(logits, noise, ids, strict=True)]
                scored.sort(reverse=True)
            best, second = scored[0][0], scored[1][0]
            for score, candidate in scored[: self._branch]:
                state = 2 if literal < 0 else 1 if candidate == literal else 0
                gap = gap_bucket(score - second if score == best else score - best)
                offered.append((candidate, retrieval_cell(bucket, state, gap)))
        if literal >= 0 and all(candidate != literal for candidate, _ in offered):
            offered.append((literal, (bucket * 3 + 1) * N_GAP + UNSCORED))
        self._offered[node] = offered
        return offered

    def _longer(self, tokens: list[int], position: int, length: int) -> int:
        """How far back the match of the text's end really reaches, up to 16 tokens."""
        text, end = self._lookup.text, len(tokens)
        while length < 16 and length < position and text[position - 1 - length] == tokens[end - 1 - length]:
            length += 1
        return length
