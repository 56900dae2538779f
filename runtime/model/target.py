"""TargetModel: a lean forward over Hugging Face weights, with sub-layers switched per call.

The weights, the config and their loading stay the library's. The forward is ours because sub-layers must be skippable, the cache
must be written at slots, and for small batches the Python between kernels decides the speed. Per layer it runs: norm, one
linear for queries, keys and values, rotary embedding on both at once, a row write, attention, one linear, norm, one linear for
gate and up, activation, one linear.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from casspec.runtime.model.families import family_of
from casspec.runtime.model.kv_cache import KVCache
from casspec.runtime.model.plan import Plan
from casspec.runtime.model.quantization import quantised, refusal
from casspec.runtime.model.weights import DecoderWeights, LayerWeights, fuse
from casspec.storage.errors import UnsupportedModel, UnsupportedOption
from casspec.storage.schema import Precision

QUERY_BUCKETS = (1, 2, 4, 6, 8, 12, 16, 20, 24, 32, 48, 64, 96, 128, 256, 512)
"""Query lengths a forward runs at; anything between is padded up, so that shapes stay few and static."""

CONTEXT_STEP = 64
"""Attended lengths are rounded up to a multiple of this, for the same reason."""


def bucket(n_tokens: int) -> int:
    """The smallest query bucket that holds `n_tokens`. Raises ValueError past the largest."""
    for size in QUERY_BUCKETS:
        if n_tokens <= size:
            return size
    raise ValueError(f"{n_tokens} query tokens exceed the largest bucket of {QUERY_BUCKETS[-1]}")


@dataclass(slots=True)
class ForwardInput:
    """Tensors of one forward, on the model's device. `length` is the attended length, a multiple of CONTEXT_STEP or the capacity."""

    token_ids: Tensor
    """[batch, queries] int64."""
    positions: Tensor
    """[batch, queries] int64, rotary positions."""
    rows: Tensor
    """[batch * queries] int64, flat cache rows to write."""
    mask: Tensor
    """[batch or 1, 1, queries, length], additive, in the model's dtype."""
    length: int

    def clone(self) -> ForwardInput:
        """A copy whose tensors nobody else writes."""
        return ForwardInput(
            self.token_ids.clone(), self.positions.clone(), self.rows.clone(), self.mask.clone(), self.length
        )


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


class TargetModel:
    """A causal language model with switchable sub-layers.

    Built by `casspec.load_target` or around a loaded library model: `TargetModel(model, tokenizer)`. The library model stays usable:
    its parameters become views of the fused tensors, so nothing is held twice.

    Raises:
        UnsupportedModel: a family or feature the forward does not cover, by name.
    """

    def __init__(self, model: Any, tokenizer: Any = None, name: str = "") -> None:
        config = model.config
        self.family = family_of(config)
        self.config = config
        self.tokenizer = tokenizer
        self.name = name or getattr(config, "name_or_path", "") or self.family.name
        self.n_layers: int = config.num_hidden_layers
        self.hidden_size: int = config.hidden_size
        self.intermediate_size: int = config.intermediate_size
        self.n_heads: int = config.num_attention_heads
        self.n_kv_heads: int = getattr(config, "num_key_value_heads", None) or self.n_heads
        self.head_dim: int = getattr(config, "head_dim", None) or self.hidden_size // self.n_heads
        self.vocab_size: int = config.vocab_size
        self.max_context: int = config.max_position_embeddings
        self.full_plan = Plan.full(self.n_layers)

        _refuse_mixed_weights(model)
        decoder = model.model
        self.embedding: Tensor = decoder.embed_tokens.weight
        self.head: Tensor = model.lm_head.weight
        self.final_norm: Tensor = decoder.norm.weight
        self.dtype: torch.dtype = self.embedding.dtype
        self.device: torch.device = self.embedding.device
        self._reduced_on_cpu = self.device.type == "cpu" and self.dtype != torch.float32
        self._epsilon: float = config.rms_norm_eps
        self._activation = _activation(config)
        with torch.no_grad():
            self.layers = [fuse(layer, self.family.qk_norm) for layer in decoder.layers]
            self._cos, self._sin = self._rotary_tables(decoder.rotary_emb)
        self._weights = {Precision.TARGET: DecoderWeights(self.layers, self.head)}
        self.library_model = model

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        """End-of-sequence ids of the generation config, () when it names none."""
        eos = getattr(getattr(self.library_model, "generation_config", None), "eos_token_id", None)
        return () if eos is None else tuple(eos) if isinstance(eos, list | tuple) else (eos,)

    @property
    def dtype_name(self) -> str:
        """Of its weights, for instance "bfloat16"."""
        return str(self.dtype).removeprefix("torch.")

    @property
    def parameter_count(self) -> int:
        return sum(parameter.numel() for parameter in self.library_model.parameters())

    def new_cache(self, capacity: int, batch: int = 1) -> KVCache:
        """A cache of `capacity` rows a sequence, rounded up to CONTEXT_STEP, in the model's dtype on its device."""
        capacity = -(-capacity // CONTEXT_STEP) * CONTEXT_STEP
        return KVCache(self.n_layers, self.n_kv_heads, self.head_dim, capacity, batch, self.dtype, self.device)

    @torch.inference_mode()
    def forward(self, inputs: ForwardInput, cache: KVCache, plan: Plan, wanted: Tensor | None = None) -> Tensor:
        """Runs the sub-layers of `plan`, writes their cache rows, returns logits in the model's dtype.

        Returns:
            [batch * queries, vocab], or of the rows `wanted` (int64) alone.
        """
        weights = self._weights_of(plan)
        hidden = self._hidden(inputs, cache, plan, weights)
        if wanted is not None:
            hidden = hidden.index_select(0, wanted)
        return weights.head_linear(hidden, weights.head, None)

    @torch.inference_mode()
    def hidden(self, inputs: ForwardInput, cache: KVCache, plan: Plan) -> Tensor:
        """As `forward`, without the head: final-norm hidden states [batch * queries, hidden]."""
        return self._hidden(inputs, cache, plan, self._weights_of(plan))

    @property
    def weights(self) -> DecoderWeights:
        """Its own, in its own precision."""
        return self._weights[Precision.TARGET]

    def refusal(self, precision: Precision) -> str | None:
        """Why plans of this precision cannot run here, in one line; None when they can."""
        return refusal(self.weights, precision, self.is_prepared(precision))

    def prepare(self, precision: Precision) -> None:
        """Packs the weights of a precision, unless that is done; the first forward of a plan would otherwise wait for it.

        Raises UnsupportedOption where the precision is not available.
        """
        if self.is_prepared(precision):
            return
        reason = self.refusal(precision)
        if reason:
            raise UnsupportedOption(
                f"plans in {precision} cannot run here: {reason}; use precision '{Precision.TARGET}'"
            )
        self._weights[precision] = quantised(self.weights, precision)

    def release(self, precision: Precision) -> None:
        """Frees the packed weights of a precision; a later forward packs them again."""
        if precision is not Precision.TARGET:
            self._weights.pop(precision, None)

    def is_prepared(self, precision: Precision) -> bool:
        """Whether forwards of this precision can run without packing weights first."""
        return precision in self._weights

    def _weights_of(self, plan: Plan) -> DecoderWeights:
        if plan.precision not in self._weights:
            self.prepare(plan.precision)
        return self._weights[plan.precision]

    def _hidden(self, inputs: ForwardInput, cache: KVCache, plan: Plan, weights: DecoderWeights) -> Tensor:
        frame = self.frame(inputs, cache)
        x = self.embed(inputs)
        layers = weights.layers
        for index, attend, feed in plan.steps:
            layer = layers[index]
            if attend:
                x = self.attend(x, index, layer, frame)
            if feed:
                x = self.feed(x, layer)
        return self.normalised(x)

    # ------------------------------------------------------------------------------- the parts of a forward, in order

    def frame(self, inputs: ForwardInput, cache: KVCache) -> Frame:
        """What all attention sub-layers of one forward share."""
        batch, queries = inputs.token_ids.shape
        groups = self.n_heads // self.n_kv_heads
        flat_positions = inputs.positions.view(-1)
        return Frame(
            batch,
            queries,
            self._cos[flat_positions],
            self._sin[flat_positions],
            inputs.mask.repeat(1, 1, groups, 1) if groups > 1 else inputs.mask,
            inputs.rows,
            cache,
            cache.visible(inputs.length),
        )

    def embed(self, inputs: ForwardInput) -> Tensor:
        """The residual stream before the first layer [batch * queries, hidden]."""
        return F.embedding(inputs.token_ids.view(-1), self.embedding)

    def attend(self, x: Tensor, index: int, layer: LayerWeights, frame: Frame) -> Tensor:
        """The residual stream after the attention sub-layer of layer `index`; writes its cache rows."""
        batch, queries, n_rows = frame.batch, frame.queries, x.shape[0]
        heads, kv_heads, head_dim = self.n_heads, self.n_kv_heads, self.head_dim
        rotated, groups, epsilon = heads + kv_heads, heads // kv_heads, self._epsilon
        normed = torch.rms_norm(x, (self.hidden_size,), layer.attention_norm, epsilon)
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

    def feed(self, x: Tensor, layer: LayerWeights) -> Tensor:
        """The residual stream after the MLP sub-layer of `layer`."""
        normed = torch.rms_norm(x, (self.hidden_size,), layer.mlp_norm, self._epsilon)
        gate, up = layer.linear(normed, layer.gate_up, layer.gate_up_bias).chunk(2, dim=-1)
        return layer.linear(self._activation(gate).mul_(up), layer.down, layer.down_bias).add_(x)

    def normalised(self, x: Tensor) -> Tensor:
        """The final norm."""
        return torch.rms_norm(x, (self.hidden_size,), self.final_norm, self._epsilon)

    def _rotary_tables(self, rotary: Any) -> tuple[Tensor, Tensor]:
        """cos and signed sin for every position, each [context, 1, head_dim] in the model's dtype, from the library's frequencies."""
        frequencies = rotary.inv_freq.float()
        angles = torch.arange(self.max_context, device=self.device, dtype=torch.float32)[:, None] * frequencies.to(
            self.device
        )
        cos, sin = angles.cos() * rotary.attention_scaling, angles.sin() * rotary.attention_scaling
        return (
            torch.cat((cos, cos), -1)[:, None].to(self.dtype),
            torch.cat((-sin, sin), -1)[:, None].to(self.dtype),
        )


def _activation(config: Any) -> Callable[[Tensor], Tensor]:
    if config.hidden_act in ("silu", "swish"):
        return F.silu
    raise UnsupportedModel(f"activation '{config.hidden_act}' is not supported; supported: silu")


def _refuse_mixed_weights(model: Any) -> None:
    places = {(str(parameter.dtype).removeprefix("torch."), str(parameter.device)) for parameter in model.parameters()}
    if len(places) > 1:
        found = ", ".join(f"{dtype} on {device}" for dtype, device in sorted(places))
        raise UnsupportedModel(f"the weights are spread over {found}; load the model in one dtype on one device")
