"""The methods: what each is called, and how it is built from a profile.

`base.py` says what a policy is and what it is built from. This file lists the built-in methods, `registry.py` finds those of other
distributions. Plain: `autoregressive.py`. Retrieval: `prompt_lookup.py`, `suffix.py`, `token_recycling.py`, `lookahead.py`. Chains of
one plan: `layer_sparse.py`, `swift.py`, `knapspec.py`, `draft_verify.py`, `early_exit.py`, `quantised.py`. Cascades and trees:
`vertical.py`, `horizontal.py`, `vc_hc.py` and `tree_vertical.py` over `max_gram_cascade.py`, `static_tree.py`, `sequoia.py`,
`cast.py`, `dytc_paper.py`, and our own in `dytc/`. `predicted.py` drafts a text that a request expects ahead of any of them.

Read `base.py`, then `prompt_lookup.py`, the shortest method. To add a method, write a module and a row of `METHODS` below, and
what is tuned of it in `tuner/methods/grids.py`.
"""

from __future__ import annotations

import inspect
from math import isfinite
from typing import Any

from casspec.runtime.decoding.sequence import MAX_TREE_NODES
from casspec.runtime.drafters.token_recycling import RecyclingMatrix
from casspec.runtime.model.target import TargetModel
from casspec.runtime.policies.autoregressive import Autoregressive
from casspec.runtime.policies.base import ForwardMs, Policy, PolicyContext
from casspec.runtime.policies.cast import Cast
from casspec.runtime.policies.draft_verify import DraftVerify
from casspec.runtime.policies.dytc import DyTC
from casspec.runtime.policies.dytc_paper import DyTCPaper
from casspec.runtime.policies.early_exit import EarlyExit
from casspec.runtime.policies.horizontal import Horizontal
from casspec.runtime.policies.knapspec import KnapSpec
from casspec.runtime.policies.layer_sparse import LayerSparse
from casspec.runtime.policies.lookahead import Lookahead
from casspec.runtime.policies.prompt_lookup import PromptLookupPolicy
from casspec.runtime.policies.quantised import Quantised
from casspec.runtime.policies.registry import MethodRegistry
from casspec.runtime.policies.sequoia import Sequoia
from casspec.runtime.policies.static_tree import StaticTree
from casspec.runtime.policies.suffix import SuffixDecoding
from casspec.runtime.policies.swift import Swift
from casspec.runtime.policies.token_recycling import TokenRecyclingPolicy
from casspec.runtime.policies.tree_vertical import TreeVertical
from casspec.runtime.policies.vc_hc import VerticalHorizontal
from casspec.runtime.policies.vertical import Vertical
from casspec.storage.errors import UnsupportedOption
from casspec.storage.schema import CascadeProfile, Mode

METHODS: dict[str, type[Policy]] = {
    "autoregressive": Autoregressive,
    "prompt-lookup": PromptLookupPolicy,
    "suffix": SuffixDecoding,
    "token-recycling": TokenRecyclingPolicy,
    "lookahead": Lookahead,
    "layer-sparse": LayerSparse,
    "swift": Swift,
    "knapspec": KnapSpec,
    "draft-verify": DraftVerify,
    "early-exit": EarlyExit,
    "quantised": Quantised,
    "vertical": Vertical,
    "horizontal": Horizontal,
    "vc-hc": VerticalHorizontal,
    "static-tree": StaticTree,
    "tree-vertical": TreeVertical,
    "sequoia": Sequoia,
    "cast": Cast,
    "dytc-paper": DyTCPaper,
    "dytc": DyTC,
}
"""The built-in methods."""

_registry = MethodRegistry(METHODS)

TREE_SIZES = {"max_nodes", "max_review", "n_nodes"}
"""Parameters that bound how many nodes of a tree a method drafts."""

DRAFTED = {"n_tokens", "n_drafted", "max_depth", "width", "level", "branch", "n_children", "max_block", "max_rounds"}
"""Parameters that count tokens or forwards on the way to a tree: more of them than it has nodes help nobody."""

COUNTS_FROM_ONE = {"max_match", "max_block", "recent"}
"""Parameters without which a method has nothing to go by."""


def register_method(name: str, policy_class: type[Policy]) -> None:
    """Adds a method of your own to this process: from now on its id works wherever a method id does.

    A package that is installed declares its method as an entry point of the group `casspec.methods` instead; then the command line
    knows it too. `Policy` says what the class may rely on and what it may not do. The engine verifies every draft, so that a method
    which guesses badly is slow and nothing else.

    Args:
        name: the method id: letters, digits, hyphens, dots, underscores.
        policy_class: a subclass of `casspec.runtime.policies.base.Policy` with a `draft` and a one-line `summary`.

    Raises:
        UnsupportedOption: an id that is taken or cannot be one, or a class that is no policy.
    """
    _registry.register(name, policy_class)


def all_methods() -> dict[str, type[Policy]]:
    """The built-in methods, then those of installed distributions, then those registered here."""
    return _registry.all()


def method_class(method: str) -> type[Policy]:
    """The class of a method id. Raises UnsupportedOption for an unknown id, and for an entry point that cannot be used."""
    return _registry.find(method)


def build_policy(
    method: str,
    target: TargetModel,
    profile: CascadeProfile | None,
    mode: Mode,
    parameters: dict[str, Any] | None = None,
    matrix: bytes | None = None,
    costs: ForwardMs | None = None,
) -> Policy:
    """A policy by method id; `parameters` None means the profile's tuned ones, {} those published.

    The cascade of a profile whose decision is "off" decodes plainly, unless parameters are given.

    Raises UnsupportedOption for an unknown method or parameter, a value of the wrong type, a negative count, a number not finite, or
    more drafted than a step can verify.
    """
    policy = method_class(method)
    if parameters is None:
        if policy is DyTC and profile is not None and profile.decision == "off":
            return Autoregressive()
        parameters = dict[str, Any](profile.settings(method)) if profile else {}
    known = settable(policy)
    for name, value in parameters.items():
        if name not in known:
            raise UnsupportedOption(f"method '{method}' has no parameter {name}")
        wanted = type(known[name])
        fits = isinstance(value, (int, float) if wanted is float else wanted)
        if not fits or (isinstance(value, bool) and wanted is not bool):
            raise UnsupportedOption(
                f"parameter {name} of method '{method}' takes {wanted.__name__}, not {type(value).__name__}"
            )
        least = int(name in COUNTS_FROM_ONE)
        if wanted is int and value < least:
            raise UnsupportedOption(f"parameter {name} of method '{method}' takes numbers from {least} on, not {value}")
        if name in DRAFTED and value >= MAX_TREE_NODES:
            raise UnsupportedOption(
                f"parameter {name} of method '{method}' takes numbers to {MAX_TREE_NODES - 1}, the nodes a step can verify, not {value}"
            )
        if wanted is float and not isfinite(value):
            raise UnsupportedOption(f"parameter {name} of method '{method}' takes a finite number, not {value}")
    for name in TREE_SIZES & parameters.keys():
        if not 1 <= parameters[name] < MAX_TREE_NODES:
            raise UnsupportedOption(
                f"method '{method}' drafts trees of 1 to {MAX_TREE_NODES - 1} nodes, not {name}={parameters[name]}"
            )
    start = RecyclingMatrix.from_bytes(matrix, target.vocab_size) if matrix else None
    return policy.build(PolicyContext(target, profile, mode, start, costs=costs), **parameters)


def settable(policy: type[Policy]) -> dict[str, Any]:
    """Parameters a user may set, with their published defaults. What a policy is built from has no plain default."""
    accepted = [*inspect.signature(policy.build).parameters.values(), *inspect.signature(policy).parameters.values()]
    return {
        parameter.name: parameter.default for parameter in accepted if isinstance(parameter.default, int | float | str)
    }
