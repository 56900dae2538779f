"""One sequence being decoded: its text, its cache rows, its noise, and the two kinds of forward a step makes.

Committed rows belong to the target, all layers. Draft node i owns tail slot committed + i and rotary position committed + depth.
The tree remembers which plan wrote each slot last within the step; a plan that expands a node recomputes, in the same masked forward,
every ancestor it did not write. Verification rewrites all layers of the tree's slots, then the accepted path is compacted.
"""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Sequence as Several
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from casspec.runtime.decoding.constrained import LOOKED_AT, best_allowed
from casspec.runtime.decoding.host_search import HostSearch, top_rows
from casspec.runtime.decoding.noise import GumbelNoise, NoiseRow
from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.decoding.verify import HostTokens, KnownTokens, TargetOutputs
from casspec.runtime.latency.timing import ForwardClock, RanForward
from casspec.runtime.model.forward_input import QUERY_BUCKETS, ForwardInput
from casspec.runtime.model.inputs import InputBuffers
from casspec.runtime.model.kv_cache import KVCache
from casspec.runtime.model.plan import Plan
from casspec.runtime.model.target import TargetModel
from casspec.runtime.text.adjustments import TextAdjustments
from casspec.runtime.text.grammar_state import GrammarState
from casspec.runtime.text.sampling import Sampling

MAX_TREE_NODES = 128
"""Largest tree a step may verify; the cache keeps that many tail slots free."""
_PREFILL_CHUNK = QUERY_BUCKETS[-1]


@dataclass(slots=True)
class Proposal:
    """What a plan says after one node, best first."""

    tokens: list[int]
    scores: list[float]
    """log q~ + g up to a constant, one more than asked for: the gap to the next is the confidence of a token."""
    probabilities: list[float]
    """q~ of the tokens, without noise; [] unless asked for."""

    @property
    def gap(self) -> float:
        """Nats between the two best scores."""
        return self.scores[0] - self.scores[1]


@dataclass(frozen=True, slots=True)
class KnownPrefix:
    """What is known of the beginning of a text.

    Attributes:
        n_tokens: whose rows are in the cache.
        top: best successors (ids, logits) after each of them, where they are kept.
    """

    n_tokens: int
    top: tuple[list[list[int]], list[list[float]]]


class Sequence:
    """Text and cache of one request. The last token of `tokens` is the root: emitted (or the prompt's last), not yet in the cache.

    Attributes:
        tokens: prompt and emitted tokens.
        device: of logits. on_host: whether that is the processor.
        adjustments: what the request makes of logits; None leaves them alone. grammar: what the text follows; None for any text.
        prompt_top: top successors after committed prompt tokens (ids, logits), when `keep_top`. prompt_places: where these tokens stand.
        cache, clock: its rows, and where its forwards are timed.

    Args:
        prefilled: another text of this prompt in the same cache: the prompt's rows are there.
        keep_top: keep the target's best successors after what is emitted. learns_prompt: also those after the prompt's tokens, as far as
            they are kept of the beginning that is known.
        known: what is in the cache of the prompt's beginning, from a text that began alike.
        prefill_chunk: tokens of the prompt in a forward, at most.
    """

    def __init__(
        self,
        target: TargetModel,
        cache: KVCache,
        prompt: list[int],
        sampling: Sampling,
        noise: GumbelNoise | None,
        clock: ForwardClock,
        keep_top: bool = False,
        inputs: InputBuffers | None = None,
        top_by_token: bool = False,
        adjustments: TextAdjustments | None = None,
        prefilled: Sequence | None = None,
        known: KnownPrefix | None = None,
        prefill_chunk: int = _PREFILL_CHUNK,
        grammar: GrammarState | None = None,
        learns_prompt: bool = True,
    ) -> None:
        self.tokens = list(prompt)
        self.sampling = sampling
        self.adjustments, self.grammar = adjustments, grammar
        self.prompt_top: tuple[list[list[int]], list[list[float]]] = ([], [])
        self.prompt_places: list[int] = []
        self._target = target
        self.cache = cache
        self._noise = noise
        self.clock = clock
        self._inputs = inputs or InputBuffers(cache.capacity, target.dtype, target.device)
        self._keep_top = keep_top
        self.device = target.device
        self.on_host = self.device.type == "cpu"
        self._search = HostSearch(sampling, noise, target.vocab_size)
        if prefilled is None:
            self._prefill(prompt[:-1], keep_top and learns_prompt, top_by_token, known, prefill_chunk)
        else:
            self.prompt_top, self.prompt_places = prefilled.prompt_top, prefilled.prompt_places

    @property
    def committed(self) -> int:
        """Rows in the cache that belong to the target."""
        return len(self.tokens) - 1

    def noise_rows(self, count: int) -> list[NoiseRow] | None:
        """The noise the next `count` emitted positions are sampled with, on the host; None when greedy."""
        return None if self._noise is None else self._noise.host_rows(len(self.tokens), count)

    def recent_forwards(self) -> list[RanForward]:
        """Forwards that ran since the last call, with what they took; the step's tokens must have been read."""
        return self.clock.recent()

    def verify(self, tree: CandidateTree, successors: bool = True) -> TargetOutputs:
        """One target forward over the whole tree; y after every node.

        Args:
            successors: whether somebody may ask for the target's best ones.
        """
        n = len(tree)
        inputs = self._tree_inputs(tree, range(n))
        plan = self._target.full_plan
        with self.clock.measure("verify", plan, n, self.committed):
            logits = self._target.forward(inputs, self.cache, plan)
        if not self.on_host:
            logits = logits[:n]
            return KnownTokens(logits, partial(self.sampled, logits, tree.depths))
        first = None if self._noise is None else len(self.tokens)
        return HostTokens(logits, self._search, tree, first, self._keep_top and successors)

    def adjusted(self, logits: Tensor, suffixes: Several[Several[int]]) -> Tensor:
        """Logits [rows, vocab] as the request adjusts them after the text and each row's suffix, float32 in memory of their own."""
        asked = self.adjustments
        scores = logits.to(torch.float32, copy=True) if asked is None else asked.adjusted(logits, suffixes)
        if self.grammar is not None:
            self.grammar.mask(scores, suffixes)
        return scores

    def sampled(self, logits: Tensor, depths: Several[int]) -> list[int]:
        """The tokens that logits [rows, vocab] draw at the positions after nodes at `depths`; the best ones when greedy."""
        if self.on_host:
            ids, _ = self._search.best(logits, range(len(logits)), self._positions_after(depths), 1)
            return ids[:, 0].tolist()
        return self.sampling.tokens(logits, self._noise_after(depths)).tolist()

    def draft(self, plan: Plan, tree: CandidateTree, nodes: list[int]) -> Tensor:
        """Logits [len(nodes), vocab] of `plan` after each of `nodes`, all in one masked forward.

        It attends to the target's committed rows and to the plan's own rows on the paths; ancestors that another plan wrote last, or
        none, are recomputed in the same forward.
        """
        return self._drafted(plan, tree, nodes)[: len(nodes)]

    def _drafted(self, plan: Plan, tree: CandidateTree, nodes: list[int]) -> Tensor:
        """The same, and rows nobody asked for behind them."""
        queries = tree.unwritten(nodes, plan.name)
        wanted = None
        if queries != nodes:
            place = {node: i for i, node in enumerate(queries)}
            wanted = torch.tensor([place[node] for node in nodes], device=self._target.device)
        inputs = self._tree_inputs(tree, queries)
        with self.clock.measure("draft", plan, len(queries), self.committed):
            logits = self._target.forward(inputs, self.cache, plan, wanted)
        for node in queries:
            tree.writers[node] = plan.name
        return logits

    def propose(
        self, plan: Plan, tree: CandidateTree, nodes: list[int], width: int = 1, probabilities: bool = False
    ) -> list[Proposal]:
        """The `width` best tokens of `plan` after each of `nodes`, by scores that carry the noise of their positions.

        Args:
            probabilities: also the plan's own probability of each, what published confidence thresholds are about.
        """
        logits = self._proposed(plan, tree, nodes)
        found = self._best_of(logits, [tree.depths[node] for node in nodes], width + 1)
        chosen, listed = found[0].tolist(), found[1].tolist()
        if not probabilities:
            return [Proposal(ids[:width], found, []) for ids, found in zip(chosen, listed, strict=True)]
        likely = (
            self.sampling.scores(logits[: len(nodes)])
            .softmax(-1)
            .gather(-1, torch.tensor(chosen, device=logits.device))
            .tolist()
        )
        return [
            Proposal(ids[:width], found, odds[:width]) for ids, found, odds in zip(chosen, listed, likely, strict=True)
        ]

    def best_after(self, plan: Plan, tree: CandidateTree, nodes: list[int], n: int) -> tuple[np.ndarray, np.ndarray]:
        """The same in arrays: ids (int64) and scores (float32) of the `n` best tokens [len(nodes), n], valid until the next call."""
        depths, grammar = [tree.depths[node] for node in nodes], self.grammar
        if grammar is None or self.adjustments is not None or self.sampling.filters:
            return self._best_of(self._proposed(plan, tree, nodes), depths, n)
        # Rows of thousands of tokens stay as they are where their best ones show which the grammar leaves.
        logits, suffixes = self._drafted(plan, tree, nodes), [tree.path_tokens(node)[1:] for node in nodes]
        ids, scores, unclear = best_allowed(grammar, suffixes, *self._best_of(logits, depths, max(n, LOOKED_AT)), n)
        if unclear:
            masked = self.adjusted(logits[unclear], [suffixes[row] for row in unclear])
            ids[unclear], scores[unclear] = self._best_of(masked, [depths[row] for row in unclear], n)
        return ids, scores

    def _proposed(self, plan: Plan, tree: CandidateTree, nodes: list[int]) -> Tensor:
        """Logits of `plan` after each of `nodes` as the request adjusts them, and rows nobody asked for behind them."""
        logits = self._drafted(plan, tree, nodes)
        if self.adjustments is None and self.grammar is None:
            return logits
        return self.adjusted(logits[: len(nodes)], [tree.path_tokens(node)[1:] for node in nodes])

    def _best_of(self, logits: Tensor, depths: list[int], n: int) -> tuple[np.ndarray, np.ndarray]:
        """Ids and scores of the best tokens after nodes at `depths`, for their logits [len(depths) at least, vocab]."""
        n = min(n, logits.shape[-1])
        if self.on_host:
            return self._search.best(logits, range(len(depths)), self._positions_after(depths), n)
        logits = logits[: len(depths)]
        top = (logits if self._noise is None else self.perturbed(logits, depths)).float().topk(n, dim=-1)
        return top.indices.cpu().numpy(), top.values.cpu().numpy()

    def replay(self, n_tokens: int, copies: int = 1) -> ForwardInput:
        """Input of a forward over the last `n_tokens` committed tokens, before a step's tree is begun.

        The queries own tail slots, so that committed rows stay the target's; they see the rows before these tokens and their own. `copies`
        repeats the tokens, each copy blind to the others (`n_tokens * copies` at most MAX_TREE_NODES).
        """
        base, n_rows = self.committed, n_tokens * copies
        self.cache.require(base + n_rows)
        start = base - n_tokens
        # Not the committed rows of these tokens, nor the copies before its own.
        visibility = [
            bytes(n_tokens * (1 + copy)) + b"\1" * (place + 1) for copy in range(copies) for place in range(n_tokens)
        ]
        tokens, positions = self.tokens[start:base], list(range(start, base))
        slots = range(base, base + n_rows)
        return self._inputs.fill(tokens * copies, positions * copies, slots, visibility, start).clone()

    def matches(self, plan: Plan, n_tokens: int) -> int:
        """How many of the last `n_tokens` tokens `plan` would have drafted, in one forward that sees the tokens before each.

        Under sampling the plan's scores carry the noise of those positions, as its drafts do.
        """
        inputs = self.replay(n_tokens)
        with self.clock.measure("draft"):
            logits = self._target.forward(inputs, self.cache, plan)[:n_tokens]
        drafted = self.sampling.tokens(logits, self.replayed_noise(n_tokens)).tolist()
        return sum(map(int.__eq__, drafted, self.tokens[-n_tokens:]))

    def replayed_noise(self, n_tokens: int) -> Tensor | None:
        """The noise the tokens after the last `n_tokens` committed ones are sampled with [n_tokens, vocab]; None when greedy."""
        return None if self._noise is None else self._noise.rows(len(self.tokens) - n_tokens, n_tokens)

    def perturbed(self, logits: Tensor, depths: list[int]) -> Tensor:
        """log p~ + g (up to a constant a row) of the children of nodes at `depths`, for logits [len(depths), vocab]."""
        noise = self._noise_after(depths)
        return self.sampling.scores(logits) if noise is None else self.sampling.perturbed(logits, noise)

    def commit(self, path: list[int], emitted: list[int]) -> None:
        """Keeps the rows of the accepted nodes `path` (root first), appends the emitted tokens, forgets the rest of the tree."""
        if path[-1] != len(path) - 1:
            base = self.committed
            # Once a node of the path does not stand at its place, none after it does.
            settled = next(place for place, node in enumerate(path) if node != place)
            self.cache.move([base + node for node in path[settled:]], base + settled)
        self.tokens.extend(emitted)
        if self.adjustments is not None:
            self.adjustments.advance(emitted)
        if self.grammar is not None:
            self.grammar.advance(emitted)

    def _noise_after(self, depths: Several[int]) -> Tensor | None:
        """The noise of the children of nodes at `depths` [len(depths), vocab]; None when greedy."""
        positions = self._positions_after(depths)
        return None if self._noise is None or positions is None else self._noise.rows_at(positions)

    def _positions_after(self, depths: Several[int]) -> list[int] | None:
        """The emitted positions of the children of nodes at `depths`; None when greedy."""
        if self._noise is None:
            return None
        root = len(self.tokens)  # the emitted position after the root
        return [root + depth for depth in depths]

    def _prefill(
        self, prompt: list[int], learns: bool, top_by_token: bool, known: KnownPrefix | None, size: int
    ) -> None:
        target, cache = self._target, self.cache
        cache.require(len(prompt) + 1)
        begin = 0 if known is None else min(known.n_tokens, len(prompt))
        if learns and (known is None or len(known.top[0]) >= begin):
            last = {token: place for place, token in enumerate(prompt)}
            self.prompt_places = sorted(last.values()) if top_by_token else list(range(len(prompt)))
        if known is not None and self.prompt_places:
            ids, values = known.top
            for place in self.prompt_places:
                if place < begin:
                    self.prompt_top[0].append(ids[place])
                    self.prompt_top[1].append(values[place])
        for start in range(begin, len(prompt), size):
            chunk = prompt[start : start + size]
            inputs = self._inputs.causal(chunk, start)
            with self.clock.measure("prefill"):
                read = [place - start for place in self.prompt_places if start <= place < start + len(chunk)]
                logits = target.fill(inputs, cache, target.full_plan, read)
            if read:
                ids, values = top_rows(logits)
                self.prompt_top[0].extend(ids)
                self.prompt_top[1].extend(values)

    def _tree_inputs(self, tree: CandidateTree, nodes: Collection[int]) -> ForwardInput:
        base = self.committed
        self.cache.require(base + len(tree))
        tokens, depths = tree.tokens, tree.depths
        return self._inputs.fill(
            [tokens[i] for i in nodes],
            [base + depths[i] for i in nodes],
            [base + i for i in nodes],
            tree.visibility(nodes),
            base,
        )
