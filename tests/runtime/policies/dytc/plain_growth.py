"""Growth and retrieval of DyTC written plainly, over lists and dictionaries: what the compiled passes are compared with."""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Callable
from math import exp, log

from casspec.runtime.decoding.acceptance import (
    GAP_EDGES,
    LITERAL_AGREES,
    LITERAL_DIFFERS,
    LITERAL_NONE,
    LITERAL_STATES,
    N_GAP,
    UNSCORED,
    AcceptanceTable,
    match_bucket,
)
from casspec.runtime.decoding.noise import NoiseRow
from casspec.runtime.decoding.sequence import MAX_TREE_NODES
from casspec.runtime.decoding.successors import SuccessorRow
from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.drafters.prompt_lookup import PromptLookup
from casspec.runtime.drafters.retrieval_passes import KEPT, LEAST, LONGEST_MATCH, MATRIX_ROWS, SPECIFIC_MATCH
from casspec.runtime.drafters.token_recycling import RecyclingMatrix, TokenRecycling
from casspec.runtime.policies.dytc.costs import CostCurve
from casspec.runtime.policies.dytc.growth_passes import EXPAND_FACTOR, LARGEST_CHANCE

Match = tuple[int, int]
NOISE_STEP = 8


class PlainRecycling(TokenRecycling):
    """Rows that are log probabilities; a token that was never seen has the mean over all tokens of the matrix."""

    def __init__(self, matrix: RecyclingMatrix | None = None) -> None:
        super().__init__(matrix)
        self._anywhere = matrix.mean_row() if matrix is not None else None
        self.begin()

    def begin(self) -> None:
        """Back to the profile's matrix."""
        self._weights: dict[int, dict[int, float]] = {}  # by token: probabilities of its successors, summed
        self._means: dict[int, SuccessorRow] = {}  # of those that were asked for since they last changed

    def refresh(self, tokens: list[int], token_ids: list[list[int]], logits: list[list[float]]) -> None:
        """The target's top successors after each of `tokens`: ids and logits [len(tokens)][TOP_SUCCESSORS]."""
        known, means = self._weights, self._means
        for token, ids, row in zip(tokens, token_ids, logits, strict=True):
            weights = known.get(token)
            if weights is None:
                weights = known[token] = {}
                stored = self._stored_row(token)
                if stored is not None:
                    _add(weights, *stored, MATRIX_ROWS)
            _add(weights, ids, row)
            means.pop(token, None)

    def row(self, token: int) -> SuccessorRow | None:
        """Top successors of `token`, None when nothing is known of any."""
        row = self._means.get(token)
        if row is None:
            weights = self._weights.get(token)
            if weights is None:
                return self._stored_row(token) or self._anywhere
            best = sorted(weights, key=weights.__getitem__, reverse=True)[:KEPT]
            row = self._means[token] = best, [log(weights[successor] or LEAST) for successor in best]
        return row


def _add(weights: dict[int, float], ids: list[int], logits: list[float], total: float = 1.0) -> None:
    """Adds the probabilities among the listed successors, times `total`."""
    best = logits[0]
    odds = [exp(value - best) for value in logits]
    share = total / sum(odds)
    for successor, value in zip(ids, odds, strict=True):
        weights[successor] = weights.get(successor, 0.0) + value * share


class PlainRetrieval:
    """Candidates at any leaf.

    Args:
        table: acceptance cells, see `runtime/decoding/acceptance.py`.
        recycling: rows for tokens that match nothing, or alone.
        max_ngram: longest n-gram in the index; longer matches are measured by comparison.
        branch: candidates offered under one leaf.
        at_leaves: look a leaf's own suffix up; otherwise only the text that follows the root's match is offered below it.
    """

    def __init__(
        self, table: AcceptanceTable, recycling: TokenRecycling, max_ngram: int, branch: int, at_leaves: bool = True
    ) -> None:
        self._at_leaves = at_leaves
        self.table = table
        self.max_ngram = max_ngram
        self._recycling = recycling
        self._branch = branch
        self._lookup = PromptLookup(max_ngram, 1, most_recent=True)
        self._rows: list[SuccessorRow] = []  # of the target, after each committed token of the text

    def reset(self) -> None:
        """Back to the profile's recycled rows and acceptance."""
        self._recycling.begin()
        self.table.reset()

    def begin(self, tokens: list[int], prompt_top: tuple[list[list[int]], list[list[float]]]) -> None:
        """A new text, with the target's successors after each of its committed tokens."""
        self._lookup.begin(tokens)
        self._rows = list(zip(*prompt_top, strict=True))
        self._recycling.refresh(tokens[: len(self._rows)], *prompt_top)

    def extend(self, emitted: list[int], visited: list[int], ids: list[list[int]], logits: list[list[float]]) -> None:
        """Appends emitted tokens, and the target's successors after the `visited` ones (the root and all accepted tokens)."""
        self._rows.extend(zip(ids, logits, strict=True))
        self._recycling.refresh(visited, ids, logits)
        self._lookup.extend(emitted)

    def root_match(self) -> Match:
        """The match of the text's own end, measured in full."""
        text = self._lookup.text
        position, length = self._lookup.match(text[-self.max_ngram :])
        if length == self.max_ngram:
            end = len(text)
            while (
                length < LONGEST_MATCH and length < position and text[position - 1 - length] == text[end - 1 - length]
            ):
                length += 1
        return position, length

    def continues(self, match: Match, token: int) -> bool:
        """Whether `token` is what followed at the match."""
        position, length = match
        return length > 0 and self._lookup.text[position] == token

    def next_match(self, match: Match) -> Match | None:
        """The match one token on, which continued at `match`; None where nothing follows in the text."""
        position, length = match
        return (position + 1, length + 1) if position + 1 < len(self._lookup.text) else None

    def match(self, suffix: tuple[int, ...]) -> Match:
        """The match of a path that ends with `suffix` and left the text, looked up anew."""
        return self._lookup.match(suffix) if self._at_leaves else (0, 0)

    def offer(
        self, token: int, match: Match, noise: NoiseRow | None, inverse_temperature: float
    ) -> list[tuple[int, int]]:
        """(token, cell) of the candidates after a leaf that ends with `token`, at most `branch` and the literal one.

        `noise` is the Gumbel row [vocab] of the position being drafted, None when greedy.
        """
        position, length = match
        literal, base = (self._lookup.text[position], match_bucket(length) * LITERAL_STATES) if length else (-1, 0)
        # The last row of the text is the root's, unknown until it is verified.
        known = length >= SPECIFIC_MATCH and position <= len(self._rows)
        row = self._rows[position - 1] if known else self._recycling.row(token)
        if row is None:
            return [(literal, (base + LITERAL_AGREES) * N_GAP + UNSCORED)] if length else []
        ids, logits = row
        if noise is None:
            scored = list(zip(logits, ids, strict=True))
        else:
            scored = [
                (value * inverse_temperature + g, i) for value, g, i in zip(logits, noise.of(ids), ids, strict=True)
            ]
            scored.sort(reverse=True)
        best, candidate = scored[0]
        second = scored[1][0] if len(scored) > 1 else best - GAP_EDGES[-1]
        missed = LITERAL_NONE if literal < 0 else LITERAL_DIFFERS
        listed = candidate == literal
        offered = [
            (
                candidate,
                (base + (LITERAL_AGREES if listed else missed)) * N_GAP + bisect_right(GAP_EDGES, best - second),
            )
        ]
        for score, candidate in scored[1 : self._branch]:
            state = missed
            if candidate == literal:
                state, listed = LITERAL_AGREES, True
            offered.append((candidate, (base + state) * N_GAP + bisect_right(GAP_EDGES, score - best)))
        if literal >= 0 and not listed:
            offered.append((literal, (base + LITERAL_AGREES) * N_GAP + UNSCORED))
        return offered


class PlainGrowth:
    """A growing tree.

    Args:
        suffix: the last tokens of the text, the root's among them.
        max_depth: of any node.
        min_mass: below it a candidate is not worth handling.
        noise_rows: `Sequence.noise_rows`: Gumbel rows of the positions being drafted, None when greedy.

    Attributes:
        masses, chances: by node. gain: sum of the masses of all nodes but the root.
        offered: by expanded node, retrieval's (token, cell).
        open_mass: probability that the true path leads into what no drafter has reviewed yet.
    """

    def __init__(
        self,
        root_token: int,
        suffix: tuple[int, ...],
        retrieval: PlainRetrieval,
        max_depth: int,
        min_mass: float,
        noise_rows: Callable[[int], list[NoiseRow] | None],
        inverse_temperature: float,
    ) -> None:
        self.tree = CandidateTree(root_token)
        self.max_depth = max_depth
        self.masses = [1.0]
        self.chances = [1.0]
        self.gain = 0.0
        self.open_mass = 1.0
        self.offered: dict[int, list[tuple[int, int]]] = {}
        self._retrieval = retrieval
        self._min_mass = min_mass
        self._noise_rows = noise_rows
        self._noise = noise_rows(min(max_depth, NOISE_STEP))
        self._inverse_temperature = inverse_temperature
        self._suffix = suffix
        self._matches: list[Match | None] = [retrieval.root_match()]  # None until somebody looks
        self._heap: list[tuple[float, int, int, float, str]] = []  # (-mass, parent, token, chance, drafter)
        self._expand(0)

    def grow(self, curve: CostCurve, rows: int) -> None:
        """Takes candidates, best first, while a larger forward can pay for them; then cuts back to the best size.

        Args:
            rows: what the forward runs already.
        """
        tree, heap, costs, buckets = self.tree, self._heap, curve.costs, curve.buckets
        place, settled = curve.place(rows), len(tree) - rows
        best_value, best_nodes = self.gain - costs[place], len(tree)
        while heap and len(tree) < MAX_TREE_NODES:
            if len(tree) - settled >= buckets[place]:
                best_value, best_nodes = max((self.gain - costs[place], len(tree)), (best_value, best_nodes))
                if not self._can_pay(curve, place, best_value):
                    break
                place += 1
            negative, parent, token, chance, drafter = heapq.heappop(heap)
            self._take(parent, token, chance, -negative, drafter)
        if self.gain - costs[place] < best_value:
            self._truncate(best_nodes)

    def best(self, curve: CostCurve) -> list[int]:
        """The nodes worth verifying, ascending: the n of largest mass for the n that gains most over its cost."""
        masses = self.masses
        order = sorted(range(len(masses)), key=masses.__getitem__, reverse=True)  # stable: parents come first
        best_value, best_size, total, begin = -1e9, 1, 0.0, 0
        for size, cost in zip(curve.buckets, curve.costs, strict=True):
            total += sum([masses[node] for node in order[begin:size]])
            if total - cost > best_value:
                best_value, best_size = total - cost, size
            if size >= len(order):
                break
            begin = size
        return sorted(order[:best_size])

    def live(self) -> int:
        """Nodes whose mass is worth handling."""
        floor = self._min_mass
        return sum([mass >= floor for mass in self.masses])

    def review(self, nodes: list[int], said: list[list[tuple[int, float]]], drafter: str) -> None:
        """Takes in what a self-drafter said: after each of `nodes` (ascending), (token, chance) best first."""
        tree, masses, chances, floor = self.tree, self.masses, self.chances, self._min_mass
        pushed: list[tuple[int, int, float, str]] = []
        for node, proposals in zip(nodes, said, strict=True):
            if node:
                masses[node] = masses[tree.parents[node]] * chances[node]
            if masses[node] < floor or tree.depths[node] >= self.max_depth:
                continue
            for token, chance, by in self._combined(node, proposals, drafter):
                child = tree.child(node, token)
                if child is None:
                    pushed.append((node, token, chance, by))
                else:
                    chances[child] = chance
        parents, reviewed = tree.parents, set(nodes)
        for node in range(1, len(masses)):
            masses[node] = masses[parents[node]] * chances[node]
        self.gain = sum(masses) - 1.0
        open_before = [(parent, token, chance, by) for _, parent, token, chance, by in self._heap]
        kept = [entry for entry in open_before if entry[0] not in reviewed]
        self._heap = [
            (-masses[parent] * chance, parent, token, chance, by)
            for parent, token, chance, by in kept + pushed
            if masses[parent] * chance > floor
        ]
        heapq.heapify(self._heap)
        self.open_mass = -sum([entry[0] for entry in self._heap])

    def _combined(self, node: int, proposals: list[tuple[int, float]], drafter: str) -> list[tuple[int, float, str]]:
        """(token, chance, proposer) of all candidates after a reviewed node; disjoint events, so they sum to 1 at most."""
        total = sum([chance for _, chance in proposals])
        scale = min(1.0, LARGEST_CHANCE / total)
        combined = [(token, chance * scale, drafter) for token, chance in proposals]
        own = {token for token, _ in proposals}
        estimate, among, agreed = self._retrieval.table.estimate, 0.0, 0.0
        for token, cell in self._offer(node):
            if token in own:
                agreed += estimate[cell]
            else:
                among += estimate[cell]
        # Given that the drafter is wrong, retrieval is right as often as it would be among its other candidates.
        share = (1.0 - total * scale) / max(1.0 - agreed, among, 1e-9)
        combined += [(token, share * estimate[cell], "") for token, cell in self._offer(node) if token not in own]
        return combined

    def _take(self, parent: int, token: int, chance: float, mass: float, drafter: str) -> None:
        match, retrieval = self._match(parent), self._retrieval
        literal = retrieval.continues(match, token)
        if not drafter:
            drafter = PromptLookup.name if literal else TokenRecycling.name
        node = self.tree.add(parent, token, drafter, mass)
        self._matches.append(retrieval.next_match(match) if literal else None)
        self.masses.append(mass)
        self.chances.append(chance)
        self.gain += mass
        self._expand(node)

    def _truncate(self, n_nodes: int) -> None:
        """Drops the nodes taken last; they go back on offer, what is offered under them does not."""
        tree = self.tree
        back = [
            (-self.masses[node], tree.parents[node], tree.tokens[node], self.chances[node], tree.drafters[node])
            for node in range(n_nodes, len(tree))
            if tree.parents[node] < n_nodes
        ]
        tree.truncate(n_nodes)
        self.gain -= sum(self.masses[n_nodes:])
        for column in (self._matches, self.masses, self.chances):
            del column[n_nodes:]
        self.offered = {node: offered for node, offered in self.offered.items() if node < n_nodes}
        self._heap = [entry for entry in self._heap if entry[1] < n_nodes] + back
        heapq.heapify(self._heap)

    def _can_pay(self, curve: CostCurve, place: int, best_value: float) -> bool:
        """Whether some larger bucket, filled with candidates as good as the best one left, would beat the best size so far."""
        buckets, costs = curve.buckets, curve.costs
        size, top = buckets[place], -self._heap[0][0]
        return any(
            self.gain + top * (buckets[larger] - size) - costs[larger] > best_value
            for larger in range(place + 1, len(buckets))
        )

    def _expand(self, node: int) -> None:
        """Puts the retrieved continuations of a node on offer."""
        mass, floor, heap, estimate = self.masses[node], self._min_mass, self._heap, self._retrieval.table.estimate
        if self.tree.depths[node] >= self.max_depth or mass < EXPAND_FACTOR * floor:
            return
        for token, cell in self._offer(node):
            chance = estimate[cell]
            if mass * chance > floor:
                heapq.heappush(heap, (-mass * chance, node, token, chance, ""))

    def _offer(self, node: int) -> list[tuple[int, int]]:
        """Retrieval's (token, cell) after a node, looked up once."""
        offered = self.offered.get(node)
        if offered is None:
            noise = None if self._noise is None else self._noise_at(self.tree.depths[node])
            offered = self.offered[node] = self._retrieval.offer(
                self.tree.tokens[node], self._match(node), noise, self._inverse_temperature
            )
        return offered

    def _noise_at(self, depth: int) -> NoiseRow:
        """Noise of the children of nodes at `depth`, made in steps: few trees grow as deep as they may."""
        if self._noise is None or depth >= len(self._noise):
            self._noise = self._noise_rows(min(self.max_depth, depth + NOISE_STEP))
        assert self._noise is not None
        return self._noise[depth]

    def _match(self, node: int) -> Match:
        """Where what a node's path ends with occurred before."""
        match = self._matches[node]
        if match is None:
            match = self._matches[node] = self._retrieval.match(self._suffix_at(node))
        return match

    def _suffix_at(self, node: int) -> tuple[int, ...]:
        """The last tokens of the text and then the path, as many as retrieval looks up."""
        tokens, parents, wanted = self.tree.tokens, self.tree.parents, self._retrieval.max_ngram
        path: list[int] = []
        while node and len(path) < wanted:
            path.append(tokens[node])
            node = parents[node]
        return (*self._suffix, *reversed(path))[-wanted:]
