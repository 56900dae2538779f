"""Skip sets by KnapSpec's dynamic programme, over recordings: starting plans of a search, a whole front at once.

The programme is that of `runtime/drafters/knapsack.py`, which the method `knapspec` runs while decoding over the last tokens
of one text. Here it looks at every position of several recordings, under the mask plans are scored with: each query
sees the target's rows before it and its own row.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from casspec.runtime.drafters.knapsack import integer_weights, most_similar_ways
from casspec.runtime.latency.predictor import LatencyPredictor
from casspec.runtime.model.plan import Plan
from casspec.runtime.model.target import TargetModel
from casspec.storage.schema import SkipSet
from casspec.tuner.recordings.offline_acceptance import AcceptanceMeter

BUDGET = 0.75
"""Share of the cost of the inner sub-layers that may be saved; the method's half would leave out the cheap end of the front."""


def knapspec_sets(
    target: TargetModel, meter: AcceptanceMeter, latency: LatencyPredictor, context_tokens: int, indices: list[int]
) -> list[SkipSet]:
    """The most similar skip set of every saving, least saved first, judged on the recordings `indices` of the meter together.

    Takes about sub-layers x savings masked sub-layer calls a recording (arXiv 2602.20217).
    """
    n_layers = target.n_layers
    if n_layers < 3:
        return []
    pair = sub_layer_weights(latency, n_layers, context_tokens)
    weights = [0, 0, *pair * (n_layers - 2), 0, 0]
    with torch.inference_mode():
        text = _Texts(target, meter, indices)
        ways = most_similar_ways(text.trajectory(), text.run, weights, int(BUDGET * sum(weights)))
    return [_skip_set(way.skipped) for way in ways if way.skipped]


def sub_layer_weights(latency: LatencyPredictor, n_layers: int, context_tokens: int) -> tuple[int, int]:
    """Integer weights of an attention and an MLP sub-layer, from what a step without the inner ones of a kind saves."""
    inner = tuple(range(1, n_layers - 1))
    full_ms = latency.forward_ms(Plan.full(n_layers), 1, context_tokens)
    attention_ms, mlp_ms = (
        max(full_ms - latency.forward_ms(Plan.skipping(skip, n_layers), 1, context_tokens), 1e-9)
        for skip in (SkipSet(attention=inner), SkipSet(mlp=inner))
    )
    return integer_weights(attention_ms, mlp_ms)


class _Texts:
    """Several recordings as one text of many tokens: attention runs recording by recording, everything else at once.

    Rows that only fill a forward up to its bucket are no tokens of it: how similar they are tells nothing.
    """

    def __init__(self, target: TargetModel, meter: AcceptanceMeter, indices: list[int]) -> None:
        self._target = target
        self._frames: list[tuple[Any, int]] = []
        embedded = []
        for index in indices:
            cache, forwards = meter.first_token_inputs(index)
            n_left = len(meter.recordings[index].continuation_tokens)
            for inputs in forwards:
                self._frames.append((target.frame(inputs, cache), inputs.token_ids.shape[1]))
                embedded.append(target.embed(inputs)[:n_left])
                n_left -= len(embedded[-1])
        self._sizes = [len(rows) for rows in embedded]
        self._embedded = torch.cat(embedded)

    def trajectory(self) -> list[Tensor]:
        """The target's hidden states before each sub-layer and after the last, [tokens, hidden] each."""
        states = [self._embedded]
        for sub_layer in range(2 * self._target.n_layers):
            states.append(self.run(sub_layer, states[-1][None])[0])
        return states

    def run(self, sub_layer: int, states: Tensor) -> Tensor:
        """One sub-layer on [ways, tokens, hidden]."""
        index, is_mlp = divmod(sub_layer, 2)
        if is_mlp:
            return self._target.advanced(states.flatten(0, 1), None, ((index, False, True),)).view_as(states)
        return torch.stack([self._attended(way, index) for way in states])

    def _attended(self, way: Tensor, index: int) -> Tensor:
        attended = []
        for part, (frame, n_queries) in zip(way.split(self._sizes), self._frames, strict=True):
            filled = F.pad(part, (0, 0, 0, n_queries - len(part)))
            attended.append(self._target.advanced(filled, frame, ((index, True, False),))[: len(part)])
        return torch.cat(attended)


def _skip_set(skipped: tuple[int, ...]) -> SkipSet:
    attention, mlp = (tuple(place // 2 for place in skipped if place % 2 == kind) for kind in (0, 1))
    return SkipSet(attention=attention, mlp=mlp)
