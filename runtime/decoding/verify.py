"""Lossless acceptance of a tree: walk it along the target's own tokens.

The target's token y at every visited node is already final (algorithm of `runtime/decoding/noise.py`), so acceptance is an equality test: take
y, descend if y is a child, else emit it as the bonus token and stop. What was proposed can change the speed, never the text.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from casspec.runtime.decoding.tree import CandidateTree


def accept(tree: CandidateTree, token_after: Callable[[int], int]) -> tuple[list[int], list[int]]:
    """The accepted path and the tokens it emits.

    Args:
        tree: the verified tree.
        token_after: y by node; asked for once a node of the path.

    Returns:
        (nodes root first, tokens): one token a node of the path; the last one is the bonus token, new root of the next step.
    """
    path, emitted, node = [0], [], 0
    while True:
        token = token_after(node)
        emitted.append(token)
        child = tree.child(node, token)
        if child is None:
            return path, emitted
        path.append(child)
        node = child


def cut(
    path: list[int], emitted: list[int], limit: int, stop_token_ids: Collection[int]
) -> tuple[list[int], list[int], bool]:
    """Ends the emission at `limit` tokens or right after the first stop token; says whether decoding is over."""
    for place, token in enumerate(emitted[:limit]):
        if token in stop_token_ids:
            return path[: place + 1], emitted[: place + 1], True
    return path[:limit], emitted[:limit], len(emitted) >= limit
