"""Whether a row of a forward has the same bits whatever rows stand beside it and wherever the slots lie that it sees.

Where it has, a method's text equals autoregressive text token for token in any precision: verification of a tree then computes what
decoding one token at a time computes. torch's kernels change with the number of rows; the native forward's do not.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import Tensor

from casspec.runtime.model.inputs import InputBuffers
from casspec.runtime.model.plan import Plan
from casspec.runtime.model.target import TargetModel

N_TOKENS = 128
CUTS = (1, 2, 3, 4, 6, 7, 9, 12, 17, 24, 43)
"""Rows of the forwards that take the tokens piece by piece, N_TOKENS in all."""
LAYERS = 2
"""Of a model on the lean backend, which are enough: the others run the same kernels on the same shapes. The library's layers differ, and
experts take any number of rows: there these come first, since most often they settle it, and then all."""
HEAD_ROWS = (1, 2, 5, 8, 17)


@torch.inference_mode()
def rows_are_independent(target: TargetModel) -> bool:
    """Measured once a model, in the time of a few forwards of two of its layers, or of all of them where the library runs them."""
    if target.rows_are_independent is None:
        target.rows_are_independent = _measured(target)
    return target.rows_are_independent


def _measured(target: TargetModel) -> bool:
    steps = target.full_plan.steps
    first = Plan("row check", target.n_layers, steps[:LAYERS])
    return _holds(target, first) and (target.backend == "lean" or _holds(target, target.full_plan))


def _holds(target: TargetModel, plan: Plan) -> bool:
    dice = random.Random(0)
    tokens = [dice.randrange(target.vocab_size) for _ in range(min(N_TOKENS, target.max_context))]
    whole = _hidden(target, plan, tokens, [len(tokens)], range(len(tokens)))
    pieces = _hidden(target, plan, tokens, _cuts(len(tokens)), range(len(tokens)))
    scattered = _hidden(target, plan, tokens, [len(tokens)], sorted(dice.sample(range(4 * len(tokens)), len(tokens))))
    if not (torch.equal(whole, pieces) and torch.equal(whole, scattered)):
        return False
    read = target.read(whole[: HEAD_ROWS[-1]])
    return all(torch.equal(target.read(whole[:n]), read[:n]) for n in HEAD_ROWS)


def _cuts(n: int) -> list[int]:
    cuts: list[int] = []
    for size in CUTS:
        if sum(cuts) + size <= n:
            cuts.append(size)
    return [*cuts, *[1] * (n - sum(cuts))]


def _hidden(
    target: TargetModel, plan: Plan, tokens: Sequence[int], cuts: Sequence[int], slots: Sequence[int]
) -> Tensor:
    """Hidden states of a text written to `slots`, in forwards of so many tokens."""
    cache = target.new_cache(4 * len(tokens))
    inputs = InputBuffers(cache.capacity, target.dtype, target.device)
    seen, rows, start = bytearray(cache.capacity), [], 0
    for size in cuts:
        end, visibility = start + size, []
        for slot in slots[start:end]:
            seen[slot] = 1
            visibility.append(bytes(seen[: slot + 1]))
        filled = inputs.fill(tokens[start:end], range(start, end), slots[start:end], visibility, 0)
        rows.append(target.hidden(filled, cache, plan)[:size].clone())
        start = end
    return torch.cat(rows)
