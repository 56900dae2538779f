"""One sequence being decoded: its text, its cache rows, its noise, and the two kinds of forward a step makes.

Committed rows belong to the target, all layers. Draft node i owns tail slot committed + i and rotary position committed + depth.
The tree remembers which plan wrote each slot last within the step; a plan that expands a node recomputes, in the same masked forward,
every ancestor it did not write. Verification rewrites all layers of the tree's slots, then the accepted path is compacted.
"""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Sequence as Several
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch
from torch import Tensor

from casspec.runtime.decoding.constrained import LOOKED_AT, best_allowed
from casspec.runtime.decoding.device_search import DeviceSearch, ForwardRows
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
from casspec.runtime.model.transfers import is_host, to_device
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


@dataclass(slots=True)
class _Draft:
    """A forward of a plan.

    Attributes:
        logits: [nodes at least, vocab], padding last. nodes: what its rows are of.
        wanted: rows that were asked for, in the order of asking.
    """

    logits: Tensor
    nodes: list[int]
    wanted: Several[int]


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
        self.on_host = is_host(self.device)
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
        keeps_top = self._keep_top and successors
        if self.on_host:
            first = None if self._noise is None else len(self.tokens)
            return HostTokens(logits, self._search, tree, first, keeps_top)
        said = self._device_search.verified(self._rows(logits, tree.depths), keeps_top)
        return KnownTokens(logits[:n], said.tokens, said.top if keeps_top else partial(self._top_after, logits))

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
        return self._device_search.verified(self._rows(logits, depths), keeps_top=False).tokens()

    def draft(self, plan: Plan, tree: CandidateTree, nodes: list[int]) -> Tensor:
        """Logits [len(nodes), vocab] of `plan` after each of `nodes`, all in one masked forward.

        It attends to the target's committed rows and to the plan's own rows on the paths; ancestors that another plan wrote last, or
        none, are recomputed in the same forward.
        """
        draft = self._drafted(plan, tree, nodes)
        if draft.nodes == nodes:
            return draft.logits[: len(nodes)]
        return draft.logits.index_select(0, to_device(draft.wanted, self.device))

    def _drafted(self, plan: Plan, tree: CandidateTree, nodes: list[int]) -> _Draft:
        queries = tree.unwritten(nodes, plan.name)
        wanted, answered = None, nodes
        places: Several[int] = range(len(nodes))
        if queries != nodes:
            place = {node: i for i, node in enumerate(queries)}
            places = [place[node] for node in nodes]
            if self.on_host:
                wanted, places = torch.tensor(places), range(len(nodes))
            else:
                answered = queries  # a device says all there is to say of a forward at once, whatever is read of it
        inputs = self._tree_inputs(tree, queries)
        with self.clock.measure("draft", plan, len(queries), self.committed):
            logits = self._target.forward(inputs, self.cache, plan, wanted)
        for node in queries:
            tree.writers[node] = plan.name
        return _Draft(logits, answered, places)

    def propose(
        self, plan: Plan, tree: CandidateTree, nodes: list[int], width: int = 1, probabilities: bool = False
    ) -> list[Proposal]:
        """The `width` best tokens of `plan` after each of `nodes`, by scores that carry the noise of their positions.

        Args:
            probabilities: also the plan's own probability of each, what published confidence thresholds are about.
        """
        ids, scores, odds = self._best_of(self._proposed(plan, tree, nodes), tree, width + 1, probabilities)
        listed = zip(ids.tolist(), scores.tolist(), odds.tolist(), strict=True)
        return [Proposal(chosen[:width], found, likely[:width]) for chosen, found, likely in listed]

    def best_after(self, plan: Plan, tree: CandidateTree, nodes: list[int], n: int) -> tuple[np.ndarray, np.ndarray]:
        """The same in arrays: ids (int64) and scores (float32) of the `n` best tokens [len(nodes), n], valid until the next call."""
        grammar = self.grammar
        if grammar is None or self.adjustments is not None or self.sampling.filters:
            return self._best_of(self._proposed(plan, tree, nodes), tree, n)[:2]
        # Rows of thousands of tokens stay as they are where their best ones show which the grammar leaves.
        draft, suffixes = self._drafted(plan, tree, nodes), [tree.path_tokens(node)[1:] for node in nodes]
        ids, scores, unclear = best_allowed(grammar, suffixes, *self._best_of(draft, tree, max(n, LOOKED_AT))[:2], n)
        if unclear:
            rows = to_device([draft.wanted[row] for row in unclear], self.device)
            masked = self.adjusted(draft.logits.index_select(0, rows), [suffixes[row] for row in unclear])
            left = _Draft(masked, [nodes[row] for row in unclear], range(len(unclear)))
            ids[unclear], scores[unclear] = self._best_of(left, tree, n)[:2]
        return ids, scores

    def _proposed(self, plan: Plan, tree: CandidateTree, nodes: list[int]) -> _Draft:
        """The same with logits as the request adjusts them."""
        draft = self._drafted(plan, tree, nodes)
        if self.adjustments is not None or self.grammar is not None:
            suffixes = [tree.path_tokens(node)[1:] for node in draft.nodes]
            draft.logits = self.adjusted(draft.logits[: len(draft.nodes)], suffixes)
        return draft

    def _best_of(
        self, draft: _Draft, tree: CandidateTree, n: int, probabilities: bool = False
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Ids, scores and, where asked for, probabilities of the best tokens after the wanted nodes of a draft [nodes, n]."""
        logits, depths = draft.logits, [tree.depths[node] for node in draft.nodes]
        n = min(n, logits.shape[-1])
        if not self.on_host:
            said = self._device_search.drafted(self._rows(logits, depths), n, probabilities)
            return *said.best(draft.wanted), said.odds(draft.wanted)
        ids, scores = self._search.best(logits, range(len(depths)), self._positions_after(depths), n)
        if not probabilities:
            return ids, scores, np.empty((len(depths), 0))
        likely = self.sampling.scores(logits[: len(depths)]).softmax(-1).gather(-1, torch.from_numpy(ids))
        return ids, scores, likely.numpy()

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
            logits = self._target.forward(inputs, self.cache, plan)
        if self.on_host:
            drafted = self.sampling.tokens(logits[:n_tokens], self.replayed_noise(n_tokens)).tolist()
        else:
            rows = self._rows(logits, range(-n_tokens, 0))
            drafted = self._device_search.verified(rows, keeps_top=False).tokens()[:n_tokens]
        return sum(map(int.__eq__, drafted, self.tokens[-n_tokens:]))

    def replayed_noise(self, n_tokens: int) -> Tensor | None:
        """The noise the tokens after the last `n_tokens` committed ones are sampled with [n_tokens, vocab]; None when greedy."""
        return None if self._noise is None else self._noise.rows(len(self.tokens) - n_tokens, n_tokens)

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

    @cached_property
    def _device_search(self) -> DeviceSearch:
        stream = None if self._noise is None else self._noise.stream
        return DeviceSearch(self.sampling, stream, self._target.vocab_size, self.device, self._target.heard)

    def _rows(self, logits: Tensor, depths: Several[int]) -> ForwardRows:
        """Of a forward on a device over tokens at `depths` below the root; those before it have negative ones."""
        root = len(self.tokens)  # the emitted position after the root
        return ForwardRows(logits, [root + depth for depth in depths])

    def _top_after(self, logits: Tensor, nodes: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """The best successors after some nodes of a forward on a device, read by themselves."""
        wanted = logits.index_select(0, to_device(nodes, self.device))
        return self._device_search.successors(wanted).top(range(len(nodes)))

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
                ids, values = top_rows(logits) if self.on_host else self._top_of(logits)
                self.prompt_top[0].extend(ids)
                self.prompt_top[1].extend(values)

    def _top_of(self, logits: Tensor) -> tuple[list[list[int]], list[list[float]]]:
        """`top_rows` on a device."""
        ids, values = self._device_search.successors(logits).top(range(len(logits)))
        return ids.tolist(), values.tolist()

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
