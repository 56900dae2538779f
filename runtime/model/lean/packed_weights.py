"""A model's weights in the order the native forward reads them, and the library model's own let go and filled again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from casspec.runtime.model.lean.families import Dimensions
from casspec.runtime.model.lean.weights import (
    DecoderWeights,
    LayerWeights,
    MappedFiles,
    fill,
    give_back_freed_memory,
    linears,
)
from casspec.runtime.native import packing, processor
from casspec.runtime.native.packing import KINDS, PackedWeight, padded


def native_refusal(weights: DecoderWeights, sizes: Dimensions) -> str | None:
    """Why the native forward cannot serve these weights here, in one line; None when it can."""
    if weights.device.type != "cpu":
        return f"the model is on {weights.device.type}"
    if weights.dtype not in KINDS:
        return f"weights in {weights.dtype} are not served"
    if sizes.head_dim % 2 or sizes.heads % sizes.kv_heads:
        return f"{sizes.heads} heads of {sizes.head_dim} over {sizes.kv_heads} key heads are not served"
    return processor.refusal()


class PackedModel:
    """The packed weights of a model.

    Attributes:
        weights: of layers and head.
        embedding: [vocab, hidden], or the packed head where the model has one matrix for both.
        released: whether the library model's linears were let go.

    Args:
        weights: of which `layers` are taken one after the other.
        model: the library model whose linears are emptied as they are packed; None to keep them.
    """

    def __init__(
        self,
        weights: DecoderWeights,
        layers: Iterable[LayerWeights],
        embedding: Tensor,
        final_norm: Tensor,
        model: Any = None,
    ) -> None:
        self.final_norm = final_norm.float().clone()
        self.released = model is not None
        tied = embedding.data_ptr() == weights.head.data_ptr()
        made, files = [], MappedFiles()
        if model is not None:
            for parameter in model.parameters():  # read to take a fingerprint
                files.let_go(parameter)
        head = packing.packed(weights.head)
        self.embedding: Tensor | PackedWeight = head if tied else embedding
        if model is not None:
            _empty([model.lm_head, *([model.model.embed_tokens] if tied else [])], files)
        for index, layer in enumerate(layers):
            made.append(packed_layer(layer, packing.packed))
            if model is not None:
                _empty([each for group in linears(model.model.layers[index]) for each in group], files)
                give_back_freed_memory()
        self.weights = replace(weights, layers=made, head=head)

    def restore(self, model: Any) -> None:
        """Fills them, with the same bits as before."""
        for layer, packed in zip(model.model.layers, self.weights.layers, strict=True):
            fill(layer, plain_layer(packed))
        model.lm_head.weight.data = self.weights.head.unpacked()
        if isinstance(self.embedding, PackedWeight):
            model.model.embed_tokens.weight.data = model.lm_head.weight.data
        self.released = False


def drained(layers: list[LayerWeights]) -> Iterator[LayerWeights]:
    """One after the other, each forgotten when the next is asked for."""
    while layers:
        yield layers.pop(0)


def _empty(modules: list[Any], files: MappedFiles) -> None:
    for module in modules:
        files.let_go(module.weight)
        module.weight.data = module.weight.data.new_empty(0)


def packed_layer(layer: LayerWeights, pack: Callable[[Tensor, int], Any]) -> LayerWeights:
    """A layer for the native forward: linears by `pack` (weight [out, in], padded inputs), everything else in float32.

    Gates and ups are packed one after the other, each padded; so are the biases and the inputs of what reads them.
    """
    gate, up = layer.gate_up.chunk(2)
    hidden, inner = layer.qkv.shape[1], padded(len(gate))
    return LayerWeights(
        attention_norm=_norm(layer.attention_norm),
        qkv=pack(layer.qkv, hidden),
        qkv_bias=_bias(layer.qkv_bias),
        q_norm=_norm(layer.q_norm),
        k_norm=_norm(layer.k_norm),
        output=pack(layer.output, layer.output.shape[1]),
        output_bias=_bias(layer.output_bias),
        mlp_norm=_norm(layer.mlp_norm),
        gate_up=pack(gate, hidden).followed_by(pack(up, hidden)),
        gate_up_bias=None if layer.gate_up_bias is None else torch.cat([_bias(h) for h in layer.gate_up_bias.chunk(2)]),
        down=pack(layer.down, inner),
        down_bias=_bias(layer.down_bias),
        output_norm=_norm(layer.output_norm),
        down_norm=_norm(layer.down_norm),
    )


def plain_layer(layer: LayerWeights) -> LayerWeights:
    """The linears of a packed layer as they were; what else it holds stays as it is."""
    return replace(
        layer,
        qkv=layer.qkv.unpacked(),
        output=layer.output.unpacked(),
        gate_up=layer.gate_up.unpacked(),
        down=layer.down.unpacked(),
    )


def _norm(weight: Tensor | None) -> Any:
    return None if weight is None else weight.float().clone()


def _bias(bias: Tensor | None) -> Any:
    """Padded as the columns are."""
    return None if bias is None else F.pad(bias.float(), (0, padded(len(bias)) - len(bias)))
