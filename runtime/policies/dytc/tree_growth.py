"""The tree one DyTC step grows: which candidates are in, which are on offer, and how probable each is.

A candidate's chance is the probability that the target emits it after its parent, its mass that of the whole path to it. Retrieval offers
candidates at every node for free; a self-drafter that reviewed a node says more, and its word comes first: its own best tokens
take their calibrated chances, and what retrieval had offered beside them shares what is left.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

from casspec.runtime.decoding.noise import NoiseRow
from casspec.runtime.decoding.sequence import MAX_TREE_NODES
from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.drafters.prompt_lookup import PromptLookup
from casspec.runtime.drafters.retrieval import Match, Retrieval
from casspec.runtime.drafters.token_recycling import TokenRecycling
from casspec.runtime.policies.dytc.costs import CostCurve

EXPAND_FACTOR = 3.0
"""A node is expanded when its mass is this many times the smallest worth handling: few of its children could reach that."""

NOISE_STEP = 8
"""Depths whose noise is made at once."""

LARGEST_CHANCE = 0.999
"""Nothing is certain: keeps what is left for other candidates above zero."""


class TreeGrowth:
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
        retrieval: Retrieval,
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
