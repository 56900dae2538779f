"""What is tuned of every method: one small grid of settings each, about as large for a baseline as for dytc.

The values as published need not be in a grid: they are always tried first.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any

from casspec.runtime.policies import method_class, settable
from casspec.storage.schema import DrafterSpec

EVERY_DRAFTER: tuple[str, ...] = ("",)
"""Values of an axis that names a plan: the method's own choice, and every self-drafter of the profile the method can be itself with."""

SKIPPING = frozenset({"layer-sparse", "draft-verify", "swift"})
"""Methods that are about skip sets: with a plan that computes all sub-layers, in fewer bits, they would be `quantised` by another name."""

GRIDS: dict[str, dict[str, Sequence[Any]]] = {
    # Retrieval.
    "prompt-lookup": {
        "most_recent": (False, True),
        "max_ngram": (3, 4, 6),
        "min_ngram": (1, 2),
        "n_tokens": (3, 5, 7, 10),
    },
    "suffix": {"factor": (1.0, 2.0, 4.0), "max_nodes": (8, 16, 32), "min_probability": (0.0, 0.1, 0.3)},
    "token-recycling": {"coupled": (False, True), "max_depth": (3, 6), "n_nodes": (5, 7, 11, 15, 23)},
    "lookahead": {"window": (3, 5, 7), "level": (3, 4, 5), "guesses": (3, 5, 7), "from_prompt": (False, True)},
    # Chains of a plan.
    "layer-sparse": {"drafter": EVERY_DRAFTER, "n_tokens": (1, 2, 3, 4, 6), "min_gap": (0.0, 0.5, 1.0)},
    "draft-verify": {"drafter": EVERY_DRAFTER, "n_tokens": (3, 5, 8), "threshold": (0.4, 0.6, 0.8)},
    "early-exit": {"exit_share": (0.25, 0.5, 0.75), "n_tokens": (1, 2, 4, 6), "min_gap": (0.0, 0.5, 1.0)},
    "quantised": {
        "drafter": EVERY_DRAFTER,
        "precision": ("int8-dynamic", "int4-weight"),
        "n_tokens": (1, 2, 3, 5, 8),
        "min_gap": (0.0, 0.5, 1.0),
    },
    "swift": {
        "drafter": EVERY_DRAFTER,
        "search": (False, True),
        "skip_ratio": (0.3, 0.45),
        "n_tokens": (3, 6, 25),
        "threshold": (0.6, 0.8),
    },
    "knapspec": {
        "refresh_steps": (64, 1024),
        "budget": (0.3, 0.5),
        "n_tokens": (2, 4, 10),
        "threshold": (0.4, 0.7),
    },
    # Trees of a plan.
    "static-tree": {
        "drafter": EVERY_DRAFTER,
        "n_nodes": (7, 15, 31, 63),
        "max_depth": (2, 3, 5),
        "width": (2, 4, 10),
    },
    "sequoia": {
        "drafter": EVERY_DRAFTER,
        "max_nodes": (16, 32, 64, 127),
        "max_depth": (3, 5, 10),
        "refresh_steps": (0, 16),
    },
    "cast": {
        "drafter": EVERY_DRAFTER,
        "width": (3, 10),
        "breadth_threshold": (0.5, 1.0, 2.0),
        "depth_threshold": (0.5, 1.0, 2.0),
        "rerank_threshold": (0.5, 1.0, 2.0),
    },
    # Cascades of a plan over retrieval.
    "vertical": {
        "drafter": EVERY_DRAFTER,
        "n_tokens": (2, 3, 5, 8),
        "n_drafted": (4, 10),
        "lenience": (1.0, 3.0),
    },
    "horizontal": {"drafter": EVERY_DRAFTER, "n_strong": (1, 2, 3), "n_cheap": (3, 5, 10)},
    "vc-hc": {
        "drafter": EVERY_DRAFTER,
        "k11": (1, 2, 3),
        "k12": (3, 5, 10),
        "k22": (5, 10),
        "n_children": (1, 3, 8),
        "lenience": (1.0, 3.0),
    },
    "tree-vertical": {
        "drafter": EVERY_DRAFTER,
        "n_tokens": (2, 3, 5, 8),
        "n_drafted": (4, 10),
        "width": (2, 3),
        "max_nodes": (16, 32, 64),
    },
    "dytc-paper": {
        "drafter": EVERY_DRAFTER,
        "second": EVERY_DRAFTER,
        "max_nodes": (8, 16, 32, 64),
        "width": (1, 3),
        "max_block": (3, 5),
        "t_min": (1.1, 2.0),
    },
    "dytc": {
        "max_nodes": (12, 16, 32),
        "max_review": (8, 16, 32),
        "min_mass": (0.03, 0.05, 0.08),
        "optimism": (0.0, 1.0),
    },
}
"""Of the built-in methods with parameters. Any other runs with its published parameters alone."""


def settings_of(method: str, drafters: Sequence[DrafterSpec] = (), seed: int = 0) -> Iterator[dict[str, Any]]:
    """Every setting of a method's grid once: the published one, then the others in an order drawn by `seed`.

    In any beginning of that order the values of an axis occur about equally often, so that few settings cover much.

    Args:
        drafters: the profile's.
    """
    published, axes = published_setting(method), axes_of(method, drafters)
    draw = random.Random(f"{seed}/{method}")
    yield published
    seen = {tuple(published.values())}
    in_grid = all(published[axis] in values for axis, values in axes.items())
    n_settings = prod(map(len, axes.values())) + (not in_grid)
    decks: dict[str, list[Any]] = {axis: [] for axis in axes}
    while len(seen) < n_settings:
        setting = {axis: _dealt(decks[axis], values, draw) for axis, values in axes.items()}
        if tuple(setting.values()) not in seen:
            seen.add(tuple(setting.values()))
            yield setting


def axes_of(method: str, drafters: Sequence[DrafterSpec] = ()) -> Mapping[str, Sequence[Any]]:
    """A method's grid on a profile with these drafters; {} for a method without."""
    names = [spec.name for spec in drafters if spec.kind == "self" and (method not in SKIPPING or spec.only_skips)]
    grid = GRIDS.get(method, {})
    return {axis: (*values, *names) if values is EVERY_DRAFTER else values for axis, values in grid.items()}


def takes(method: str, setting: Mapping[str, Any], drafters: Sequence[DrafterSpec]) -> bool:
    """Whether the plans that a setting names are among those of the method's grid."""
    axes = axes_of(method, drafters)
    return all(setting[axis] in axes[axis] for axis, values in GRIDS.get(method, {}).items() if values is EVERY_DRAFTER)


def published_setting(method: str) -> dict[str, Any]:
    """The values as published on the axes of a method's grid."""
    defaults = settable(method_class(method))
    return {axis: defaults[axis] for axis in GRIDS.get(method, {})}


def _dealt(deck: list[Any], values: Sequence[Any], draw: random.Random) -> Any:
    """The next value of a shuffled deck, shuffled anew once all were dealt."""
    if not deck:
        deck += draw.sample(list(values), len(values))
    return deck.pop()
