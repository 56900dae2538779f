"""Checks at load: whether forwards of a library model over trees of drafts are what its own plain forward says.

A text is gone through as decoding does it: a prompt, a tree of two branches in one forward, one branch accepted and moved, one token more.
Each row must be the library's own for the straight text that leads there. Right is told from wrong by comparison, for precisions differ:
the error has to be far below that of the same tree at positions that are wrong on purpose.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from casspec.runtime.model.forward_input import CONTEXT_STEP
from casspec.runtime.model.generic.anatomy import WATCHED_TOKENS
from casspec.runtime.model.generic.backend import GenericBackend, silenced
from casspec.runtime.model.generic.refusals import told
from casspec.runtime.model.inputs import InputBuffers
from casspec.runtime.model.kv_cache import KVCache
from casspec.runtime.model.plan import Plan
from casspec.storage.errors import UnsupportedModel

N_TREE = 5
PROMPTS = tuple(n * CONTEXT_STEP - N_TREE for n in (1, 2))
"""Tokens of the prompt. The tree fills what a forward attends to up to its end: a model that hides slots by itself shows it there."""

SHARE = 1 / 3
"""Of the wrong tree's error that the right one's may have at most."""

EXACT = 1e-3
"""Relative error up to which float32 counts as the same, however small that of the wrong tree."""

IDENTITY = 1e-2
"""Relative change that is rounding, where a layer without its sub-layers gives back what it was given."""

BRANCHES = ((1, 2), (3, 4))
"""Two branches below the root (node 0), by node."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What the checks measured: root mean square errors over the largest logit.

    Attributes:
        plain: of the prompt. tree: of the tree. moved: after a branch was accepted. wrong: of a tree at wrong positions.
        is_separable, is_identity: as the backend has them.
    """

    plain: float
    tree: float
    moved: float
    wrong: float
    is_separable: bool
    is_identity: bool

    @property
    def error(self) -> float:
        return max(self.plain, self.tree, self.moved)


@torch.inference_mode()
def check(backend: GenericBackend, model: Any) -> Checked:
    """Compares a backend with its library model, and tells it which sub-layers can be left out.

    Raises UnsupportedModel where they differ.
    """
    found = _measured(backend, model)
    limit = max(SHARE * found.wrong, EXACT if backend.dtype is torch.float32 else 0.0)
    if not found.error < limit:
        raise UnsupportedModel(
            told(
                model.config,
                f"it does not say over a tree what it says token by token: errors of {found.plain:.1e} in a text, {found.tree:.1e} in a "
                f"tree, {found.moved:.1e} after it, where wrong positions give {found.wrong:.1e}",
            )
        )
    backend.is_separable, backend.is_identity = found.is_separable, found.is_identity
    return found


def _measured(backend: GenericBackend, model: Any) -> Checked:
    windows = [rows.window for rows in backend.layer_rows if rows.window is not None]
    is_long = any(PROMPTS[0] <= window < PROMPTS[1] for window in windows)
    n_prompt = min(PROMPTS[is_long], backend.max_context - N_TREE - 1)
    dice = random.Random(0)
    tokens = [dice.randrange(backend.vocab_size) for _ in range(n_prompt + N_TREE + 1)]
    prompt, tree, last = tokens[:n_prompt], tokens[n_prompt:-1], tokens[-1]
    straight = [prompt + [tree[0]] + [tree[node] for node in branch] for branch in BRANCHES]
    expected = [_library(model, text) for text in straight]
    after = _library(model, [*straight[1], last])

    walk = _Walk(backend, n_prompt + N_TREE)
    plain = _error(walk.text(prompt), expected[0][:n_prompt])
    rows = walk.tree(tree, right=True)
    wanted = torch.cat((expected[0][n_prompt:], expected[1][n_prompt + 1 :]))
    in_tree = _error(rows, wanted)
    walk.cache.move([n_prompt + node for node in BRANCHES[1]], n_prompt + 1)
    moved = _error(walk.one(last, n_prompt + 3), after[-1:])
    wrong = _error(walk.tree(tree, right=False), wanted)
    return Checked(plain, in_tree, moved, wrong, *_layers(backend, walk))


class _Walk:
    """One sequence in a cache, as decoding goes through it."""

    def __init__(self, backend: GenericBackend, n_tokens: int) -> None:
        self._backend = backend
        self.cache: KVCache = backend.new_cache(-(-n_tokens // CONTEXT_STEP) * CONTEXT_STEP, 1)
        self.inputs = InputBuffers(self.cache.capacity, backend.dtype, backend.device)
        self._plan = Plan.full(len(backend.layer_rows))
        self._n = 0

    def text(self, tokens: Sequence[int]) -> Tensor:
        """Logits of a prompt."""
        self._n = len(tokens)
        inputs = self.inputs.causal(tokens, 0)
        return self._backend.logits(inputs, self.cache, self._plan, None)[: len(tokens)]

    def tree(self, tokens: Sequence[int], right: bool) -> Tensor:
        """Logits of the root and BRANCHES after the prompt; `right`: at their depths, each seeing its own branch alone."""
        n, depths = self._n, [0, 1, 2, 1, 2]
        seen = [b"\1", b"\1\1", b"\1\1\1", b"\1\0\0\1", b"\1\0\0\1\1"]
        if not right:
            depths, seen = [0, 1, 2, 3, 4], [b"\1" * (node + 1) for node in range(5)]
        slots = range(n, n + 5)
        inputs = self.inputs.fill(tokens, [n + depth for depth in depths], slots, seen, n)
        return self._backend.logits(inputs, self.cache, self._plan, None)[:5]

    def one(self, token: int, place: int) -> Tensor:
        """Logits of one token more."""
        inputs = self.inputs.causal([token], place)
        return self._backend.logits(inputs, self.cache, self._plan, None)[:1]


def _library(model: Any, tokens: Sequence[int]) -> Tensor:
    ids = torch.tensor([tokens], device=model.get_input_embeddings().weight.device)
    logits: Tensor = model(input_ids=ids, use_cache=False).logits[0]
    return logits


def _error(found: Tensor, expected: Tensor) -> float:
    difference = (found.double() - expected.double()).square().mean().sqrt()
    return float(difference / expected.double().abs().max().clamp_min(1e-12))


def _layers(backend: GenericBackend, walk: _Walk) -> tuple[bool, bool]:
    """Whether layers run without their sub-layers, and whether each then gives back what it is given; one of each kind."""
    anatomy, kinds, is_identity = backend.anatomy, set(), True
    frame = backend.frame(walk.inputs.causal(range(WATCHED_TOKENS + 2), 0), walk.cache)
    for call, layer, parts in zip(frame.calls, anatomy.layers, anatomy.parts, strict=True):
        kind = type(layer), parts.attention, parts.mlp
        if kind in kinds:
            continue
        kinds.add(kind)
        if not parts.attention or not parts.mlp:
            return False, False
        try:
            returned = call(silenced(layer, parts, False, False), call.hidden)
        except (TypeError, AttributeError, RuntimeError, ValueError, IndexError):
            return False, False
        change = float((returned - call.hidden).abs().max())
        is_identity &= change <= IDENTITY * float(call.hidden.abs().max())
    return True, is_identity
