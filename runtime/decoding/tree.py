"""CandidateTree: the drafted tokens of one step. Depth, mask, positions and paths are derived from its parents.

Node 0 is the root: the bonus token of the previous step, already emitted but not yet in the cache. Every other node is a
candidate for the position after its parent. Children of one parent carry distinct tokens: duplicates merge.
"""

from __future__ import annotations

from collections.abc import Iterable


class CandidateTree:
    """Tokens with parents, the drafter that proposed each, and the probability that each is accepted.

    Attributes:
        tokens, parents, depths: list[int], one entry a node; parents[0] is -1 and a parent always precedes its children.
        drafters: list[str]; probabilities: list[float], of the whole path root..node being accepted.
        writers: list[str], name of the plan that wrote the node's cache rows last in this step, "" for none.
    """

    __slots__ = ("_ancestry", "_children", "depths", "drafters", "parents", "probabilities", "tokens", "writers")

    def __init__(self, root_token: int) -> None:
        self.tokens = [root_token]
        self.parents = [-1]
        self.depths = [0]
        self.drafters = [""]
        self.probabilities = [1.0]
        self.writers = [""]
        self._children: list[dict[int, int]] = [{}]
        self._ancestry = [b"\1"]  # per node, one byte a column up to itself: 1 where an ancestor or itself stands

    def __len__(self) -> int:
        return len(self.tokens)

    def add(self, parent: int, token: int, drafter: str = "", probability: float = 0.0) -> int:
        """Adds a candidate under `parent` and returns its node; an equal sibling is returned instead of doubled."""
        siblings = self._children[parent]
        node = siblings.get(token)
        if node is not None:
            if probability > self.probabilities[node]:
                self.probabilities[node] = probability
            return node
        node = len(self.tokens)
        siblings[token] = node
        self.tokens.append(token)
        self.parents.append(parent)
        self.depths.append(self.depths[parent] + 1)
        self.drafters.append(drafter)
        self.probabilities.append(probability)
        self.writers.append("")
        self._children.append({})
        self._ancestry.append(self._ancestry[parent].ljust(node, b"\0") + b"\1")
        return node

    def child(self, node: int, token: int) -> int | None:
        """The child of `node` with this token, None when there is none."""
        return self._children[node].get(token)

    def children(self, node: int) -> list[int]:
        return list(self._children[node].values())

    def path(self, node: int) -> list[int]:
        """Nodes from the root to `node`, both included."""
        nodes = []
        while node >= 0:
            nodes.append(node)
            node = self.parents[node]
        return nodes[::-1]

    def path_tokens(self, node: int) -> list[int]:
        return [self.tokens[i] for i in self.path(node)]

    def visibility(self, nodes: Iterable[int]) -> list[bytes]:
        """Of each of `nodes`, which nodes up to itself are its ancestors or itself: one byte a node, 1 or 0."""
        ancestry = self._ancestry
        return [ancestry[node] for node in nodes]

    def unwritten(self, nodes: list[int], writer: str) -> list[int]:
        """`nodes` and those of their ancestors whose cache rows `writer` did not write last, ascending."""
        writers, parents = self.writers, self.parents
        stale, walked = set(nodes), set()
        for node in nodes:
            node = parents[node]
            while node >= 0 and node not in walked:
                walked.add(node)
                if writers[node] != writer:
                    stale.add(node)
                node = parents[node]
        return sorted(stale)

    def truncate(self, n_nodes: int) -> None:
        """Drops all but the first `n_nodes` nodes; parents precede children, so what is left is a tree."""
        for node in range(n_nodes, len(self.tokens)):
            if self.parents[node] < n_nodes:
                del self._children[self.parents[node]][self.tokens[node]]
        for column in (
            self.tokens,
            self.parents,
            self.depths,
            self.drafters,
            self.probabilities,
            self.writers,
            self._children,
            self._ancestry,
        ):
            del column[n_nodes:]

    def selected(self, nodes: list[int]) -> CandidateTree:
        """A new tree of these nodes alone, ascending and closed under parents, the root among them.

        Its nodes have other slots, so it is for verification, which rewrites them all: no plan has written any of it.
        """
        tree = CandidateTree(self.tokens[0])
        place = {0: 0}
        for node in nodes[1:]:
            parent = place[self.parents[node]]
            place[node] = tree.add(parent, self.tokens[node], self.drafters[node], self.probabilities[node])
        return tree
