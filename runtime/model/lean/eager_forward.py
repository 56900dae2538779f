"""The forward by torch's operators: on CUDA, and on processors that `runtime/native/` does not serve.

Per layer it runs: norm, one linear for queries, keys and values, rotary embedding on both at once, a row write, attention, one linear,
norm, one linear for gate and up, activation, one linear.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from casspec.runtime.model.forward_input import ForwardInput
from casspec.runtime.model.kv_cache import KVCache, LayerRows
from casspec.runtime.model.lean.families import Dimensions
from casspec.runtime.model.lean.weights import DecoderWeights, LayerWeights
from casspec.runtime.model.plan import Steps


@dataclass(slots=True)
class Frame:
    """Shared by all attention sub-layers of one forward."""

    batch: int
    queries: int
    cos: Tensor
    sin: Tensor
    mask: Tensor
    rows: Tensor
    cache: KVCache
    visible: list[tuple[Tensor, Tensor]]


class EagerForward:
    """Sub-layers of one precision of a model.

    Args:
        embedding: [vocab, hidden]. final_norm: [hidden].
        angles: cosines and sines by position [context, head_dim], float32.
    """

    def __init__(
        self,
        sizes: Dimensions,
        rows: tuple[LayerRows, ...],
        weights: DecoderWeights,
        embedding: Tensor,
        final_norm: Tensor,
        angles: Tensor,
    ) -> None:
        self._sizes, self._rows, self._weights = sizes, rows, weights
        self._embedding, self._final_norm, self._angles = embedding, final_norm, angles
        self._reduced_on_cpu = weights.device.type == "cpu" and weights.dtype != torch.float32

    def new_cache(self, capacity: int, batch: int) -> KVCache:
        """A cache as this forward reads it."""
        return KVCache(self._rows, capacity, batch, self._weights.dtype, self._weights.device)

    def logits(self, inputs: ForwardInput, cache: KVCache, steps: Steps, wanted: Tensor | None = None) -> Tensor:
        """Of all query rows [rows, vocab], or of the rows `wanted` (int64)."""
        x = self.advanced(self.embed(inputs), self.frame(inputs, cache), steps)
        return self.read(self.normalised(x if wanted is None else x.index_select(0, wanted)))

    def hidden(self, inputs: ForwardInput, cache: KVCache, steps: Steps) -> Tensor:
        """Final-norm hidden states [rows, hidden]."""
        return self.normalised(self.advanced(self.embed(inputs), self.frame(inputs, cache), steps))

    def advanced(self, x: Tensor, frame: Frame | None, steps: Steps) -> Tensor:
        """The residual stream [rows, hidden] after some sub-layers; `frame` is needed where attention runs."""
        layers = self._weights.layers
        for index, attends, feeds in steps:
            layer = layers[index]
            if attends:
                assert frame is not None, "attention needs to know its rows"
                x = self._attend(x, index, layer, frame)
            if feeds:
                x = self._feed(x, layer)
        return x

    def read(self, hidden: Tensor) -> Tensor:
        """Logits [rows, vocab] of final-norm hidden states."""
        return self._weights.head_linear(hidden, self._weights.head, None)

    def frame(self, inputs: ForwardInput, cache: KVCache) -> Frame:
        """What all attention sub-layers of one forward share."""
        batch, queries = inputs.token_ids.shape
        groups = self._sizes.heads // self._sizes.kv_heads
        cos, sin = self._rotations
        flat_positions = inputs.positions.view(-1)
        return Frame(
            batch,
            queries,
            cos[flat_positions],
            sin[flat_positions],
            inputs.mask.repeat(1, 1, groups, 1) if groups > 1 else inputs.mask,
            inputs.rows,
            cache,
            cache.visible(inputs.length),
        )

    def embed(self, inputs: ForwardInput) -> Tensor:
        """The residual stream before the first layer [batch * queries, hidden]."""
        return F.embedding(inputs.token_ids.view(-1), self._embedding)

    def _attend(self, x: Tensor, index: int, layer: LayerWeights, frame: Frame) -> Tensor:
        """The residual stream after the attention sub-layer of layer `index`; writes its cache rows."""
        batch, queries, n_rows = frame.batch, frame.queries, x.shape[0]
        heads, kv_heads, head_dim = self._sizes.heads, self._sizes.kv_heads, self._sizes.head_dim
        rotated, groups, epsilon = heads + kv_heads, heads // kv_heads, self._sizes.epsilon
        normed = torch.rms_norm(x, (self._sizes.hidden,), layer.attention_norm, epsilon)
        qkv = layer.linear(normed, layer.qkv, layer.qkv_bias)
        qk, value = qkv.view(n_rows, rotated + kv_heads, head_dim).split((rotated, kv_heads), 1)
        if layer.q_norm is not None:
            query, key = qk.split((heads, kv_heads), 1)
            qk = torch.cat(
                (
                    torch.rms_norm(query, (head_dim,), layer.q_norm, epsilon),
                    torch.rms_norm(key, (head_dim,), layer.k_norm, epsilon),
                ),
                dim=1,
            )
        # x * cos + rotate_half(x) * sin, the sign of rotate_half folded into sin
        query, key = (qk * frame.cos).addcmul_(qk.roll(head_dim // 2, -1), frame.sin).split((heads, kv_heads), 1)
        keys, values = frame.cache.rows(index)
        keys.index_copy_(0, frame.rows, key)
        values.index_copy_(0, frame.rows, value)
        query, visible = query.view(batch, queries, heads, head_dim), frame.visible[index]
        if groups > 1:
            # Queries of a group become more query rows of one key head: keys and values are never repeated.
            query = (
                query.unflatten(2, (kv_heads, groups))
                .permute(0, 2, 3, 1, 4)
                .reshape(batch, kv_heads, groups * queries, head_dim)
            )
            mixed = F.scaled_dot_product_attention(query, *visible, attn_mask=frame.mask)
            mixed = mixed.unflatten(2, (groups, queries)).permute(0, 3, 1, 2, 4)
        elif queries == 1 and self._reduced_on_cpu:
            # The CPU kernel for one query row in reduced precision is three times slower than the one for two equal rows, and over a
            # view that repeats one it takes up to twice as long as over two that lie in memory.
            query = query.transpose(1, 2).repeat(1, 1, 2, 1)
            mixed = F.scaled_dot_product_attention(query, *visible, attn_mask=frame.mask).transpose(1, 2)[:, :1]
        else:
            mixed = F.scaled_dot_product_attention(query.transpose(1, 2), *visible, attn_mask=frame.mask)
            mixed = mixed.transpose(1, 2)
        return layer.linear(mixed.reshape(n_rows, heads * head_dim), layer.output, layer.output_bias).add_(x)

    def _feed(self, x: Tensor, layer: LayerWeights) -> Tensor:
        """The residual stream after the MLP sub-layer of `layer`."""
        normed = torch.rms_norm(x, (self._sizes.hidden,), layer.mlp_norm, self._sizes.epsilon)
        gate, up = layer.linear(normed, layer.gate_up, layer.gate_up_bias).chunk(2, dim=-1)
        return layer.linear(F.silu(gate).mul_(up), layer.down, layer.down_bias).add_(x)

    def normalised(self, x: Tensor) -> Tensor:
        """The final norm."""
        return torch.rms_norm(x, (self._sizes.hidden,), self._final_norm, self._sizes.epsilon)

    @cached_property
    def _rotations(self) -> tuple[Tensor, Tensor]:
        """cos and signed sin for every position, each [context, 1, head_dim] in the model's dtype."""
        cos, sin = self._angles.chunk(2, -1)
        dtype = self._weights.dtype
        return torch.cat((cos, cos), -1)[:, None].to(dtype), torch.cat((-sin, sin), -1)[:, None].to(dtype)
