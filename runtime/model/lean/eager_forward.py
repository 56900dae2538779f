"""The forward by torch's operators: on CUDA, and on processors that `runtime/native/` does not serve.

Per layer it runs: norm, one linear for queries, keys and values, rotary embedding on both at once, a row write, attention, one linear,
norm, one linear for gate and up, activation, one linear. Some families norm again what a sub-layer gives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import torch
import torch.nn.functional as F
from torch import Tensor

from casspec.runtime.model.forward_input import ForwardInput
from casspec.runtime.model.joint_input import JointInput, JointPart
from casspec.runtime.model.kv_cache import KVCache, LayerRows
from casspec.runtime.model.lean.families import Activation, Dimensions
from casspec.runtime.model.lean.rotary import Rotary
from casspec.runtime.model.lean.weights import DecoderWeights, LayerWeights, rounded
from casspec.runtime.model.plan import Steps

ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu-tanh": partial(F.gelu, approximate="tanh"),
}


Turns = list[tuple[Tensor, Tensor]]
"""By kind of layer, cosines and signed sines of the queries' positions."""


@dataclass(slots=True)
class Frame:
    """Shared by all attention sub-layers of one forward."""

    batch: int
    queries: int
    turns: Turns
    masks: dict[int | None, Tensor]
    """By window."""
    rows: Tensor
    cache: KVCache
    visible: list[tuple[Tensor, Tensor]]


class EagerForward:
    """Sub-layers of one precision of a model.

    Args:
        embedding: [vocab, hidden]. final_norm: [hidden].
        rotary: tables on the weights' device.
    """

    def __init__(
        self,
        sizes: Dimensions,
        rows: tuple[LayerRows, ...],
        weights: DecoderWeights,
        embedding: Tensor,
        final_norm: Tensor,
        rotary: Rotary,
    ) -> None:
        self._sizes, self._rows, self._weights = sizes, rows, weights
        self._embedding, self._final_norm, self._rotary = embedding, final_norm, rotary
        self._embedding_scale = rounded(sizes.embedding_scale, weights.dtype)
        self._activate = ACTIVATIONS[sizes.activation]
        self._turned_width = rotary.width
        self._norm = torch.rms_norm if final_norm.dtype == weights.dtype else _norm_in_its_dtype
        scale, largest = sizes.score_scale, sizes.score_cap
        self._attention: Callable[..., Tensor] = (
            partial(F.scaled_dot_product_attention, scale=scale)
            if largest is None
            else partial(_bounded_attention, scale=scale, largest=largest)
        )
        self._reduced_on_cpu = weights.device.type == "cpu" and weights.dtype != torch.float32

    def new_cache(self, capacity: int, batch: int) -> KVCache:
        """A cache as this forward reads it."""
        return KVCache(self._rows, capacity, batch, self._weights.dtype, self._weights.device)

    def logits(self, inputs: ForwardInput, cache: KVCache, steps: Steps, wanted: Tensor | None = None) -> Tensor:
        """Of all query rows [rows, vocab], or of the rows `wanted` (int64)."""
        x = self.advanced(self.embed(inputs), self.frame(inputs, cache), steps)
        return self.read(self.normalised(x if wanted is None else x.index_select(0, wanted)))

    def joint_logits(self, inputs: JointInput, steps: Steps, wanted: Tensor | None = None) -> Tensor:
        """The same of several sequences, one after the other."""
        numbers = inputs.numbers()
        frames = [self.frame(_unpadded(part), part.cache) for part in inputs.parts]
        x = F.embedding(numbers[0], self._embedding)
        x = x if self._embedding_scale == 1 else x * self._embedding_scale
        turns = [(cos[numbers[1]], sin[numbers[1]]) for cos, sin in self._turns]
        x = self._advanced(x, turns, frames, steps)
        return self.read(self.normalised(x if wanted is None else x.index_select(0, wanted)))

    def hidden(self, inputs: ForwardInput, cache: KVCache, steps: Steps) -> Tensor:
        """Final-norm hidden states [rows, hidden]."""
        return self.normalised(self.advanced(self.embed(inputs), self.frame(inputs, cache), steps))

    def advanced(self, x: Tensor, frame: Frame | None, steps: Steps) -> Tensor:
        """The residual stream [rows, hidden] after some sub-layers; `frame` is needed where attention runs."""
        return self._advanced(x, [] if frame is None else frame.turns, [] if frame is None else [frame], steps)

    def _advanced(self, x: Tensor, turns: Turns, frames: list[Frame], steps: Steps) -> Tensor:
        """The same of the rows of several sequences, a frame each. turns: by kind of layer, of all rows."""
        layers = self._weights.layers
        for index, attends, feeds in steps:
            layer = layers[index]
            if attends:
                assert frames, "attention needs to know its rows"
                x = self._attend(x, index, layer, turns, frames)
            if feeds:
                x = self._feed(x, layer)
        return x

    def read(self, hidden: Tensor) -> Tensor:
        """Logits [rows, vocab] of final-norm hidden states."""
        logits = self._weights.head_linear(hidden, self._weights.head, None)
        return logits if self._sizes.logit_cap is None else _capped(logits, self._sizes.logit_cap)

    def frame(self, inputs: ForwardInput, cache: KVCache) -> Frame:
        """What all attention sub-layers of one forward share."""
        batch, queries = inputs.token_ids.shape
        groups = self._sizes.heads // self._sizes.kv_heads
        places = inputs.positions.view(-1)
        turns = [(cos[places], sin[places]) for cos, sin in self._turns]
        masks = cache.masks(inputs)
        if groups > 1:
            masks = {window: mask.repeat(1, 1, groups, 1) for window, mask in masks.items()}
        return Frame(batch, queries, turns, masks, inputs.rows, cache, cache.visible(inputs.length))

    def embed(self, inputs: ForwardInput) -> Tensor:
        """The residual stream before the first layer [batch * queries, hidden]."""
        x = F.embedding(inputs.token_ids.view(-1), self._embedding)
        return x if self._embedding_scale == 1 else x * self._embedding_scale

    def _attend(self, x: Tensor, index: int, layer: LayerWeights, turns: Turns, frames: list[Frame]) -> Tensor:
        """The residual stream after the attention sub-layer of layer `index`; writes its cache rows."""
        n_rows, sizes = x.shape[0], self._sizes
        heads, kv_heads, head_dim, epsilon = sizes.heads, sizes.kv_heads, sizes.head_dim, sizes.epsilon
        normed = self._norm(x, (sizes.hidden,), layer.attention_norm, epsilon)
        qkv = layer.linear(normed, layer.qkv, layer.qkv_bias)
        qk, value = qkv.view(n_rows, heads + 2 * kv_heads, head_dim).split((heads + kv_heads, kv_heads), 1)
        if layer.q_norm is not None and layer.k_norm is not None:
            query, key = qk.split((heads, kv_heads), 1)
            qk = torch.cat(
                (
                    self._norm(query, (head_dim,), layer.q_norm, epsilon),
                    self._norm(key, (head_dim,), layer.k_norm, epsilon),
                ),
                dim=1,
            )
        cos, sin = turns[self._rotary.kinds[index]]
        query, key = _turned(qk, cos, sin, self._turned_width, head_dim).split((heads, kv_heads), 1)
        if len(frames) == 1:
            mixed = self._seen(query, key, value, index, frames[0])
        else:
            sizes_of = [len(frame.rows) for frame in frames]
            split = zip(query.split(sizes_of), key.split(sizes_of), value.split(sizes_of), frames, strict=True)
            mixed = torch.cat([self._seen(q, k, v, index, frame) for q, k, v, frame in split])
        given = layer.linear(mixed, layer.output, layer.output_bias)
        if layer.output_norm is not None:
            given = self._norm(given, (sizes.hidden,), layer.output_norm, epsilon)
        return given.add_(x)

    def _seen(self, query: Tensor, key: Tensor, value: Tensor, index: int, frame: Frame) -> Tensor:
        """What the rows of one frame attend to [rows, heads * head_dim], their own written first."""
        keys, values = frame.cache.rows(index)
        keys.index_copy_(0, frame.rows, key)
        values.index_copy_(0, frame.rows, value)
        mixed = self._mixed(query, frame.visible[index], frame.masks[self._rows[index].window], frame)
        return mixed.reshape(len(query), -1)

    def _mixed(self, query: Tensor, visible: tuple[Tensor, Tensor], mask: Tensor, frame: Frame) -> Tensor:
        """Attention of queries [rows, heads, head_dim] over keys and values: [batch, queries, heads, head_dim] in some order in memory."""
        batch, queries, kv_heads = frame.batch, frame.queries, self._sizes.kv_heads
        groups = self._sizes.heads // kv_heads
        query = query.view(batch, queries, self._sizes.heads, self._sizes.head_dim)
        if groups > 1:
            # Queries of a group become more query rows of one key head: keys and values are never repeated.
            query = (
                query.unflatten(2, (kv_heads, groups))
                .permute(0, 2, 3, 1, 4)
                .reshape(batch, kv_heads, groups * queries, self._sizes.head_dim)
            )
            mixed = self._attention(query, *visible, attn_mask=mask)
            return mixed.unflatten(2, (groups, queries)).permute(0, 3, 1, 2, 4)
        if queries == 1 and self._reduced_on_cpu:
            # The CPU kernel for one query row in reduced precision is three times slower than the one for two equal rows, and over a
            # view that repeats one it takes up to twice as long as over two that lie in memory.
            query = query.transpose(1, 2).repeat(1, 1, 2, 1)
            return self._attention(query, *visible, attn_mask=mask).transpose(1, 2)[:, :1]
        return self._attention(query.transpose(1, 2), *visible, attn_mask=mask).transpose(1, 2)

    def _feed(self, x: Tensor, layer: LayerWeights) -> Tensor:
        """The residual stream after the MLP sub-layer of `layer`."""
        shape, epsilon = (self._sizes.hidden,), self._sizes.epsilon
        normed = self._norm(x, shape, layer.mlp_norm, epsilon)
        gate, up = layer.linear(normed, layer.gate_up, layer.gate_up_bias).chunk(2, dim=-1)
        given = layer.linear(self._activate(gate).mul_(up), layer.down, layer.down_bias)
        if layer.down_norm is not None:
            given = self._norm(given, shape, layer.down_norm, epsilon)
        return given.add_(x)

    def normalised(self, x: Tensor) -> Tensor:
        """The final norm."""
        return self._norm(x, (self._sizes.hidden,), self._final_norm, self._sizes.epsilon)

    @cached_property
    def _turns(self) -> list[tuple[Tensor, Tensor]]:
        """By kind of layer cos and signed sin for every position, each [context, 1, width] in the model's dtype."""
        halves, dtype = [table.chunk(2, -1) for table in self._rotary.tables], self._weights.dtype
        return [
            (torch.cat((cos, cos), -1)[:, None].to(dtype), torch.cat((-sin, sin), -1)[:, None].to(dtype))
            for cos, sin in halves
        ]


def _unpadded(part: JointPart) -> ForwardInput:
    """The inputs of a part without their padding."""
    inputs, n = part.inputs, part.n_rows
    rows, mask = inputs.rows[:n], inputs.mask[:, :, :n]
    return ForwardInput(inputs.token_ids[:, :n], inputs.positions[:, :n], rows, mask, inputs.length)


def _turned(heads: Tensor, cos: Tensor, sin: Tensor, width: int, head_dim: int) -> Tensor:
    """Rotary embedding of the first `width` numbers of each head [rows, heads, head_dim]; the others stay."""
    first = heads if width == head_dim else heads[..., :width]
    # x * cos + rotate_half(x) * sin, the sign of rotate_half folded into sin
    turned = (first * cos).addcmul_(first.roll(width // 2, -1), sin)
    return turned if width == head_dim else torch.cat((turned, heads[..., width:]), -1)


def _norm_in_its_dtype(x: Tensor, shape: tuple[int, ...], weight: Tensor, epsilon: float) -> Tensor:
    """`torch.rms_norm` in the dtype of a weight that is finer than x."""
    return torch.rms_norm(x.to(weight.dtype), shape, weight, epsilon).to(x.dtype)


def _bounded_attention(
    query: Tensor, keys: Tensor, values: Tensor, attn_mask: Tensor, scale: float, largest: float
) -> Tensor:
    """Attention whose scores are bounded before the mask: [batch, heads, queries, head_dim]."""
    scores = _capped(query @ keys.transpose(2, 3) * scale, largest) + attn_mask
    return scores.softmax(-1, dtype=torch.float32).to(values.dtype) @ values


def _capped(x: Tensor, largest: float) -> Tensor:
    """largest * tanh(x / largest); x is let go."""
    return x.div_(largest).tanh_().mul_(largest)
