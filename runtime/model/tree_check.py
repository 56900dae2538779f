"""What a backend says over a tree of drafts, compared with what the library's own forward says of the straight texts in it.

A text is gone through as decoding does it: a prompt, a tree of two branches in one forward, one branch accepted and moved, one token more.
The same tree at positions that are wrong on purpose says how large an error is that matters: precisions differ, and models do.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from casspec.runtime.model.backend import Backend
from casspec.runtime.model.forward_input import CONTEXT_STEP
from casspec.runtime.model.inputs import InputBuffers
from casspec.runtime.model.plan import Plan

N_TREE = 5
PROMPTS = tuple(n * CONTEXT_STEP - N_TREE for n in (1, 2))
"""Tokens of the prompt. The tree fills what a forward attends to up to its end: a model that hides slots by itself shows it there."""

BRANCHES = ((1, 2), (3, 4))
"""Two branches below the root (node 0), by node."""

SHARE = 1 / 3
"""Of the wrong tree's error that the right one's may have at most."""

EXACT = 1e-3
"""Error up to which float32 counts as the same, however small that of the wrong tree."""


@dataclass(frozen=True, slots=True)
class TreeErrors:
    """Root mean square errors of logits over the largest of them.

    Attributes:
        plain: of the prompt. tree: of the tree. moved: after a branch was accepted. wrong: of a tree at wrong positions.
        limit: what the first three must stay below.
    """

    plain: float
    tree: float
    moved: float
    wrong: float
    limit: float

    @property
    def largest(self) -> float:
        return max(self.plain, self.tree, self.moved)

    @property
    def are_small(self) -> bool:
        """Whether the backend says what the library says. Never of numbers that are none."""
        return self.largest < self.limit

    def told(self) -> str:
        """In a line."""
        return (
            f"errors of {self.plain:.1e} in a text, {self.tree:.1e} in a tree, {self.moved:.1e} after it, where wrong positions give "
            f"{self.wrong:.1e}"
        )


@dataclass(frozen=True, slots=True)
class StraightTexts:
    """What a library model says of the texts in a tree.

    Attributes:
        prompt, tree, last: tokens. branches: logits of the prompt, the root and each of BRANCHES.
        after: logits of the last token, behind the second branch.
    """

    prompt: list[int]
    tree: list[int]
    last: int
    branches: list[Tensor]
    after: Tensor


@torch.inference_mode()
def straight_texts(backend: Backend, model: Any) -> StraightTexts:
    """Of a library model whose weights are all there, as long as the backend over it asks for."""
    windows = [rows.window for rows in backend.layer_rows if rows.window is not None]
    is_long = any(PROMPTS[0] <= window < PROMPTS[1] for window in windows)
    n_prompt = min(PROMPTS[is_long], backend.max_context - N_TREE - 1)
    dice = random.Random(0)
    tokens = [dice.randrange(backend.vocab_size) for _ in range(n_prompt + N_TREE + 1)]
    prompt, tree, last = tokens[:n_prompt], tokens[n_prompt:-1], tokens[-1]
    texts = [prompt + [tree[0]] + [tree[node] for node in branch] for branch in BRANCHES]
    after = _library(model, [*texts[1], last])[-1:].clone()
    return StraightTexts(prompt, tree, last, [_library(model, text) for text in texts], after)


@torch.inference_mode()
def tree_errors(backend: Backend, straight: StraightTexts) -> TreeErrors:
    """Of a backend, in the time of a few forwards over a hundred tokens."""
    n_prompt, tree, expected = len(straight.prompt), straight.tree, straight.branches
    walk = _Walk(backend, n_prompt + N_TREE)
    plain = _error(walk.text(straight.prompt), expected[0][:n_prompt])
    wanted = torch.cat((expected[0][n_prompt:], expected[1][n_prompt + 1 :]))
    in_tree = _error(walk.tree(tree, right=True), wanted)
    walk.cache.move([n_prompt + node for node in BRANCHES[1]], n_prompt + 1)
    moved = _error(walk.one(straight.last, n_prompt + 3), straight.after)
    wrong = _error(walk.tree(tree, right=False), wanted)
    limit = max(SHARE * wrong, EXACT if backend.dtype is torch.float32 else 0.0)
    return TreeErrors(plain, in_tree, moved, wrong, limit)


class _Walk:
    """One sequence in a cache, as decoding goes through it."""

    def __init__(self, backend: Backend, n_tokens: int) -> None:
        self._backend = backend
        self.cache = backend.new_cache(-(-n_tokens // CONTEXT_STEP) * CONTEXT_STEP, 1)
        self._inputs = InputBuffers(self.cache.capacity, backend.dtype, backend.device)
        self._plan = Plan.full(len(backend.layer_rows))
        self._n = 0

    def text(self, tokens: Sequence[int]) -> Tensor:
        """Logits of a prompt."""
        self._n = len(tokens)
        inputs = self._inputs.causal(tokens, 0)
        return self._backend.logits(inputs, self.cache, self._plan, None)[: len(tokens)]

    def tree(self, tokens: Sequence[int], right: bool) -> Tensor:
        """Logits of the root and BRANCHES after the prompt; `right`: at their depths, each seeing its own branch alone."""
        n, depths = self._n, [0, 1, 2, 1, 2]
        seen = [b"\1", b"\1\1", b"\1\1\1", b"\1\0\0\1", b"\1\0\0\1\1"]
        if not right:
            depths, seen = [0, 1, 2, 3, 4], [b"\1" * (node + 1) for node in range(N_TREE)]
        inputs = self._inputs.fill(tokens, [n + depth for depth in depths], range(n, n + N_TREE), seen, n)
        return self._backend.logits(inputs, self.cache, self._plan, None)[:N_TREE]

    def one(self, token: int, place: int) -> Tensor:
        """Logits of one token more."""
        inputs = self._inputs.causal([token], place)
        return self._backend.logits(inputs, self.cache, self._plan, None)[:1]


def _library(model: Any, tokens: Sequence[int]) -> Tensor:
    ids = torch.tensor([tokens], device=model.get_input_embeddings().weight.device)
    logits: Tensor = model(input_ids=ids, use_cache=False).logits[0]
    return logits


def _error(found: Tensor, expected: Tensor) -> float:
    difference = (found.double() - expected.double()).square().mean().sqrt()
    return float(difference / expected.double().abs().max().clamp_min(1e-12))
