"""The growth of a DyTC tree, compiled: what `runtime/policies/dytc/tree_growth.py` asks for, over arrays.

A growing tree is `GROWTH`, in this order:

    nodes           [8, MAX_TREE_NODES], int64. numbers [2, MAX_TREE_NODES]
    heap_ids        [candidates, 3]: parent, token, proposer. heap_numbers [candidates, 2]: -mass, chance; the best candidate first
    offers          [.., 2]: retrieval's (token, cell), those of a node together
    counts          [7]. totals [4]. key [1]: of the noise
    asked           nodes that are worth a review
"""

from __future__ import annotations

from typing import Any

import numpy as np

from casspec.runtime.compiled import compiled, part
from casspec.runtime.drafters import retrieval_passes
from casspec.runtime.drafters.retrieval_passes import PARTS, RETRIEVAL, State, longest_match, offer, root_match

EXPAND_FACTOR = 3.0
"""A node is expanded when its mass is this many times the smallest worth handling: few of its children could reach that."""

LARGEST_CHANCE = 0.999
"""Nothing is certain: keeps what is left for other candidates above zero."""

BY_RETRIEVAL, BY_LOOKUP, BY_RECYCLING = range(3)
"""Proposers; a candidate of retrieval becomes one of the other two once it is taken. Those after them are self-drafters."""


TOKEN, PARENT, DEPTH, BY, POSITION, LENGTH, FIRST, OFFERED = range(8)
"""Rows of `nodes`: of a node its token, parent, depth and proposer; position and length of its match, first and number of its offers
(-1: nobody looked)."""

MASS, CHANCE = range(2)
"""Rows of `numbers`."""

NODES, LIVE, HEAP, OFFERS, MAX_DEPTH, EMITTED, ASKED = range(7)
"""Of `counts`: nodes, those worth handling, candidates, offers; the deepest a node may be; position of the root's noise (-1 when greedy);
nodes worth a review."""

GAIN, OPEN, LEAST, INVERSE_TEMPERATURE = range(4)
"""Of `totals`: masses of all nodes but the root, of all candidates; the least mass worth handling; 1 / temperature."""

GROWTH = (
    "Tuple((int64[:, ::1], float64[:, ::1], int64[:, ::1], float64[:, ::1], int64[:, ::1], "
    "int64[::1], float64[::1], uint64[::1], int64[::1]))"
)
_PARTS = (*PARTS, retrieval_passes)

# Candidates -----------------------------------------------------------------------------------------------------------


@part
def _is_before(ids, numbers, one, other):  # type: ignore[no-untyped-def]
    """Larger mass first, of equals the earlier parent, then the lower token."""
    if numbers[one, 0] != numbers[other, 0]:
        return numbers[one, 0] < numbers[other, 0]
    if ids[one, 0] != ids[other, 0]:
        return ids[one, 0] < ids[other, 0]
    return ids[one, 1] < ids[other, 1]


@part
def _copy(ids, numbers, source, target):  # type: ignore[no-untyped-def]
    for column in range(3):
        ids[target, column] = ids[source, column]
    for column in range(2):
        numbers[target, column] = numbers[source, column]


@part
def _swap(ids, numbers, one, other):  # type: ignore[no-untyped-def]
    for column in range(3):
        ids[one, column], ids[other, column] = ids[other, column], ids[one, column]
    for column in range(2):
        numbers[one, column], numbers[other, column] = numbers[other, column], numbers[one, column]


@part
def _sink(ids, numbers, place, n):  # type: ignore[no-untyped-def]
    """Moves a candidate down to where it belongs."""
    while True:
        first = 2 * place + 1
        if first >= n:
            return
        if first + 1 < n and _is_before(ids, numbers, first + 1, first):
            first += 1
        if not _is_before(ids, numbers, first, place):
            return
        _swap(ids, numbers, first, place)
        place = first


@part
def _append(growth, negative, parent, token, chance, by):  # type: ignore[no-untyped-def]
    """Adds a candidate at the end, whatever the order."""
    ids, numbers, counts = growth[2], growth[3], growth[5]
    place = counts[HEAP]
    ids[place, 0], ids[place, 1], ids[place, 2] = parent, token, by
    numbers[place, 0], numbers[place, 1] = negative, chance
    counts[HEAP] += 1
    return place


@part
def _push(growth, negative, parent, token, chance, by):  # type: ignore[no-untyped-def]
    ids, numbers = growth[2], growth[3]
    place = _append(growth, negative, parent, token, chance, by)
    while place and _is_before(ids, numbers, place, (place - 1) // 2):
        _swap(ids, numbers, place, (place - 1) // 2)
        place = (place - 1) // 2


@part
def _order(growth):  # type: ignore[no-untyped-def]
    """Puts the best candidate first again."""
    n = growth[5][HEAP]
    for place in range(n // 2 - 1, -1, -1):
        _sink(growth[2], growth[3], place, n)


# Nodes ----------------------------------------------------------------------------------------------------------------


@part
def _find_match(state, growth, node):  # type: ignore[no-untyped-def]
    """Where what a node's path ends with occurred before, looked up once."""
    nodes, max_ngram, n_text = growth[0], state[1][0], state[0][0]
    if nodes[LENGTH, node] >= 0:
        return
    nodes[POSITION, node] = nodes[LENGTH, node] = 0
    if not state[1][2]:
        return
    back, n, above = np.empty(max_ngram, np.int64), 0, node
    while above and n < max_ngram:
        back[n] = nodes[TOKEN, above]
        above = nodes[PARENT, above]
        n += 1
    for i in range(min(max_ngram - n, n_text)):
        back[n] = state[2][n_text - 1 - i]
        n += 1
    nodes[POSITION, node], nodes[LENGTH, node] = longest_match(state, back, n)


@part
def _find_offers(state, growth, node):  # type: ignore[no-untyped-def]
    """Retrieval's (token, cell) after a node, looked up once."""
    nodes, offers, counts, totals, key = growth[0], growth[4], growth[5], growth[6], growth[7]
    if nodes[FIRST, node] >= 0:
        return
    _find_match(state, growth, node)
    emitted = counts[EMITTED] + nodes[DEPTH, node] if counts[EMITTED] >= 0 else np.int64(-1)
    first = counts[OFFERS]
    nodes[FIRST, node] = first
    nodes[OFFERED, node] = offer(
        state,
        nodes[TOKEN, node],
        nodes[POSITION, node],
        nodes[LENGTH, node],
        key[0],
        emitted,
        totals[INVERSE_TEMPERATURE],
        offers[first:],
    )
    counts[OFFERS] += nodes[OFFERED, node]


@part
def _expand(state, growth, node):  # type: ignore[no-untyped-def]
    """Puts the retrieved continuations of a node on offer."""
    nodes, offers, estimate = growth[0], growth[4], state[7]
    mass, least = growth[1][MASS, node], growth[6][LEAST]
    if nodes[DEPTH, node] >= growth[5][MAX_DEPTH] or mass < EXPAND_FACTOR * least:
        return
    _find_offers(state, growth, node)
    for i in range(nodes[FIRST, node], nodes[FIRST, node] + nodes[OFFERED, node]):
        chance = estimate[offers[i, 1]]
        if mass * chance > least:
            _push(growth, -mass * chance, node, offers[i, 0], chance, BY_RETRIEVAL)


@part
def _add(growth, parent, token, by, mass, chance):  # type: ignore[no-untyped-def]
    nodes, numbers, node = growth[0], growth[1], growth[5][NODES]
    growth[5][NODES] += 1
    nodes[TOKEN, node], nodes[PARENT, node], nodes[BY, node] = token, parent, by
    nodes[DEPTH, node] = nodes[DEPTH, parent] + 1 if node else 0
    nodes[LENGTH, node] = nodes[FIRST, node] = -1
    numbers[MASS, node], numbers[CHANCE, node] = mass, chance
    return node


@part
def _take(state, growth):  # type: ignore[no-untyped-def]
    """The best candidate becomes a node."""
    nodes, ids, numbers, counts = growth[0], growth[2], growth[3], growth[5]
    parent, token, by = ids[0, 0], ids[0, 1], ids[0, 2]
    mass, chance = -numbers[0, 0], numbers[0, 1]
    counts[HEAP] -= 1
    _copy(ids, numbers, counts[HEAP], 0)
    _sink(ids, numbers, 0, counts[HEAP])
    _find_match(state, growth, parent)
    position, length = nodes[POSITION, parent], nodes[LENGTH, parent]
    literal = length > 0 and state[2][position] == token
    if by == BY_RETRIEVAL:
        by = BY_LOOKUP if literal else BY_RECYCLING
    node = _add(growth, parent, token, by, mass, chance)
    if literal and position + 1 < state[0][0]:
        nodes[POSITION, node], nodes[LENGTH, node] = position + 1, length + 1
    growth[6][GAIN] += mass
    _expand(state, growth, node)


@part
def _truncate(growth, n):  # type: ignore[no-untyped-def]
    """Drops the nodes taken last; they go back on offer, what is offered under them does not."""
    nodes, numbers, ids, heap_numbers, counts = growth[0], growth[1], growth[2], growth[3], growth[5]
    kept = 0
    for place in range(counts[HEAP]):
        if ids[place, 0] < n:
            _copy(ids, heap_numbers, place, kept)
            kept += 1
    counts[HEAP] = kept
    dropped = 0.0
    for node in range(n, counts[NODES]):
        dropped += numbers[MASS, node]
        if nodes[PARENT, node] < n:
            parent, token, by = nodes[PARENT, node], nodes[TOKEN, node], nodes[BY, node]
            _append(growth, -numbers[MASS, node], parent, token, numbers[CHANCE, node], by)
        if nodes[FIRST, node] >= 0:
            counts[OFFERS] = min(counts[OFFERS], nodes[FIRST, node])
    growth[6][GAIN] -= dropped
    counts[NODES] = n
    _order(growth)


@part
def _count_live(growth):  # type: ignore[no-untyped-def]
    live = 0
    for node in range(growth[5][NODES]):
        live += growth[1][MASS, node] >= growth[6][LEAST]
    growth[5][LIVE] = live


@part
def _can_pay(growth, buckets, costs, place, best_value):  # type: ignore[no-untyped-def]
    """Whether some larger bucket, filled with candidates as good as the best one left, would beat the best size so far."""
    gain, top, larger = growth[6][GAIN], -growth[3][0, 0], place + 1
    while larger < len(buckets) and gain + top * (buckets[larger] - buckets[place]) - costs[larger] <= best_value:
        larger += 1
    return larger < len(buckets)


# What is asked for ----------------------------------------------------------------------------------------------------


@compiled(f"void({RETRIEVAL}, {GROWTH}, int64)", parts_of=_PARTS)
def begin(state: State, growth: Any, token: int) -> None:
    """A tree of the root alone, which is `token`."""
    nodes, counts, totals = growth[0], growth[5], growth[6]
    counts[NODES] = counts[HEAP] = counts[OFFERS] = 0
    totals[GAIN], totals[OPEN] = 0.0, 1.0
    _add(growth, -1, token, BY_RETRIEVAL, 1.0, 1.0)
    nodes[POSITION, 0], nodes[LENGTH, 0] = root_match(state)
    _expand(state, growth, 0)
    _count_live(growth)


@compiled(f"void({RETRIEVAL}, {GROWTH}, float64[:, ::1], int64)", parts_of=_PARTS)
def grow(state: State, growth: Any, curve: np.ndarray, rows: int) -> None:
    """Takes candidates, best first, while a larger forward can pay for them; then cuts back to the best size. Of the nodes that it then has
    to compute, the last `rows` of before and all later ones, those worth a review are listed.

    Args:
        curve: [2, buckets]: rows of forwards and what these cost. rows: what the forward runs already.
    """
    counts, totals, buckets, costs = growth[5], growth[6], curve[0], curve[1]
    place, last = 0, len(buckets) - 1
    while place < last and buckets[place] < rows:
        place += 1
    settled, most = counts[NODES] - rows, growth[0].shape[1]
    best_value, best_nodes = totals[GAIN] - costs[place], counts[NODES]
    while counts[HEAP] and counts[NODES] < most:
        if counts[NODES] - settled >= buckets[place]:
            value = totals[GAIN] - costs[place]
            if value > best_value or (value == best_value and counts[NODES] > best_nodes):
                best_value, best_nodes = value, counts[NODES]
            if not _can_pay(growth, buckets, costs, place, best_value):
                break
            place += 1
        _take(state, growth)
    if totals[GAIN] - costs[place] < best_value:
        _truncate(growth, best_nodes)
    _count_live(growth)
    nodes, masses, asked = growth[0], growth[1][MASS], growth[8]
    counts[ASKED] = 0
    for node in range(settled, counts[NODES]):
        if masses[node] >= totals[LEAST] and nodes[DEPTH, node] < counts[MAX_DEPTH]:
            asked[counts[ASKED]] = node
            counts[ASKED] += 1


@part
def _is_among(tokens, token):  # type: ignore[no-untyped-def]
    place = 0
    while place < len(tokens) and tokens[place] != token:
        place += 1
    return place < len(tokens)


@part
def _hear(state, growth, node, said, right, by):  # type: ignore[no-untyped-def]
    """Gives all candidates after a reviewed node their chances; they are disjoint events, so these sum to 1 at most."""
    nodes, numbers, offers, estimate, n_nodes = growth[0], growth[1], growth[4], state[7], growth[5][NODES]
    _find_offers(state, growth, node)
    first, n_offered, n_said, total = nodes[FIRST, node], nodes[OFFERED, node], 0, 0.0
    while n_said < len(said) and said[n_said, 0] >= 0:
        total += right[said[n_said, 1]]
        n_said += 1
    tokens, scale, among, agreed = said[:n_said, 0], min(1.0, LARGEST_CHANCE / total), 0.0, 0.0
    for i in range(first, first + n_offered):
        if _is_among(tokens, offers[i, 0]):
            agreed += estimate[offers[i, 1]]
        else:
            among += estimate[offers[i, 1]]
    # Given that the drafter is wrong, retrieval is right as often as it would be among its other candidates.
    share = (1.0 - total * scale) / max(1.0 - agreed, among, 1e-9)
    for i in range(n_said + n_offered):
        if i < n_said:
            token, chance, proposer = said[i, 0], right[said[i, 1]] * scale, by
        else:
            offered = first + i - n_said
            token, chance, proposer = offers[offered, 0], share * estimate[offers[offered, 1]], np.int64(BY_RETRIEVAL)
            if _is_among(tokens, token):
                continue
        child = node + 1
        while child < n_nodes and not (nodes[PARENT, child] == node and nodes[TOKEN, child] == token):
            child += 1
        if child < n_nodes:
            numbers[CHANCE, child] = chance
        else:
            _append(growth, 0.0, node, token, chance, proposer)


@compiled(f"void({RETRIEVAL}, {GROWTH}, int64[::1], int64[:, :, ::1], float64[::1], int64)", parts_of=_PARTS)
def review(state: State, growth: Any, reviewed: np.ndarray, said: np.ndarray, right: np.ndarray, by: int) -> None:
    """Takes in what a self-drafter said after each of the `reviewed` nodes (ascending).

    Args:
        said: [MAX_TREE_NODES, most, 2]: by node (token, cell), best first, -1 past the last. right: probability by cell.
        by: the self-drafter.
    """
    nodes, numbers, ids, heap_numbers = growth[0], growth[1], growth[2], growth[3]
    counts, totals, least = growth[5], growth[6], growth[6][LEAST]
    asked, kept = np.zeros(counts[NODES], np.bool_), 0
    for node in reviewed:
        asked[node] = True
    for place in range(counts[HEAP]):
        if not asked[ids[place, 0]]:
            _copy(ids, heap_numbers, place, kept)
            kept += 1
    counts[HEAP] = kept
    for node in reviewed:
        if node:
            numbers[MASS, node] = numbers[MASS, nodes[PARENT, node]] * numbers[CHANCE, node]
        if numbers[MASS, node] >= least and nodes[DEPTH, node] < counts[MAX_DEPTH]:
            _hear(state, growth, node, said[node], right, by)
    totals[GAIN] = 0.0
    for node in range(1, counts[NODES]):
        numbers[MASS, node] = numbers[MASS, nodes[PARENT, node]] * numbers[CHANCE, node]
        totals[GAIN] += numbers[MASS, node]
    n, counts[HEAP], totals[OPEN] = counts[HEAP], 0, 0.0
    for place in range(n):
        mass = numbers[MASS, ids[place, 0]] * heap_numbers[place, 1]
        if mass > least:
            _copy(ids, heap_numbers, place, counts[HEAP])
            heap_numbers[counts[HEAP], 0] = -mass
            counts[HEAP] += 1
            totals[OPEN] += mass
    _order(growth)
    _count_live(growth)
