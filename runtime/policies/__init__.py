"""The methods: what each is called, what it runs on, and how it is built from a profile."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from casspec.runtime.drafters.token_recycling import RecyclingMatrix
from casspec.runtime.dsia import Plan
from casspec.runtime.policies.autoregressive import Autoregressive
from casspec.runtime.policies.base import Policy
from casspec.runtime.policies.dytc import DyTC
from casspec.runtime.policies.layer_sparse import LayerSparse
from casspec.runtime.policies.prompt_lookup import PromptLookupPolicy
from casspec.runtime.policies.token_recycling import TokenRecyclingPolicy
from casspec.runtime.sequence import MAX_TREE_NODES
from casspec.runtime.target import TargetModel
from casspec.storage.errors import UnsupportedOption
from casspec.storage.schema import CascadeProfile, DrafterSpec, SkipSet


@dataclass(frozen=True)
class Ingredients:
    """All a method may be built from."""

    target: TargetModel
    profile: CascadeProfile | None
    mode: str
    matrix: RecyclingMatrix | None

    def plans(self) -> list[tuple[Plan, DrafterSpec]]:
        """Self-drafters of the profile, in its order."""
        drafters = self.profile.drafters if self.profile else ()
        return [
            (Plan.skipping(spec.skip, self.target.n_layers, spec.name, spec.quantization.precision), spec)
            for spec in drafters
            if spec.kind == "self"
        ]


def every_second(n_layers: int) -> SkipSet:
    """Every second inner attention and MLP sub-layer: the plan of a layer-sparse drafter that was never searched for."""
    inner = range(1, n_layers - 1, 2)
    return SkipSet(attention=tuple(inner), mlp=tuple(inner))


def _layer_sparse(ingredients: Ingredients, **parameters: Any) -> Policy:
    plans = ingredients.plans()
    plan = (
        plans[0][0]
        if plans
        else Plan.skipping(every_second(ingredients.target.n_layers), ingredients.target.n_layers, "every-second")
    )
    return LayerSparse(plan, **parameters)


@dataclass(frozen=True)
class Method:
    """A row of `casspec.methods()`."""

    summary: str
    build: Callable[..., Policy]
    policy: type
    published: dict[str, Any]
    """Parameters as published, where they differ from the constructor's defaults."""


METHODS: dict[str, Method] = {
    "autoregressive": Method("one target step a token", lambda _: Autoregressive(), Autoregressive, {}),
    "prompt-lookup": Method(
        "a chain copied from the longest n-gram match", lambda _, **p: PromptLookupPolicy(**p), PromptLookupPolicy, {}
    ),
    "token-recycling": Method(
        "a static tree over the target's recycled successors",
        lambda ingredients, **p: TokenRecyclingPolicy(ingredients.matrix, **p),
        TokenRecyclingPolicy,
        {},
    ),
    "layer-sparse": Method("a chain drafted by the target with sub-layers skipped", _layer_sparse, LayerSparse, {}),
    "dytc": Method("a dynamic tree cascade over all of them", partial(DyTC.build), DyTC, {}),
}


TREE_SIZES = {"max_nodes", "n_nodes"}
"""Parameters that bound how many nodes of a tree a method drafts."""


def build_policy(
    method: str,
    target: TargetModel,
    profile: CascadeProfile | None,
    mode: str,
    parameters: dict[str, Any] | None = None,
    matrix: bytes | None = None,
) -> Policy:
    """A policy by method id; `parameters` None means the profile's tuned ones.

    Raises UnsupportedOption for an unknown method or parameter, or a tree larger than a step can verify.
    """
    entry = METHODS.get(method)
    if entry is None:
        raise UnsupportedOption(f"unknown method '{method}'; methods: {', '.join(METHODS)}")
    if parameters is None:
        parameters = dict[str, Any](profile.settings(method)) if profile else {}
    # What a policy is built from has no plain default: plans, tables, matrices.
    signature = inspect.signature(entry.policy).parameters.values()
    known = {parameter.name for parameter in signature if isinstance(parameter.default, int | float | str)}
    unknown = sorted(set(parameters) - known)
    if unknown:
        raise UnsupportedOption(f"method '{method}' has no parameter {', '.join(unknown)}")
    for name in TREE_SIZES & parameters.keys():
        if not 1 <= parameters[name] < MAX_TREE_NODES:
            raise UnsupportedOption(
                f"method '{method}' drafts trees of 1 to {MAX_TREE_NODES - 1} nodes, not {name}={parameters[name]}"
            )
    start = RecyclingMatrix.from_bytes(matrix, target.vocab_size) if matrix else None
    return entry.build(Ingredients(target, profile, mode, start), **parameters)
