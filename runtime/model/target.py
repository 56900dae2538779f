"""TargetModel: a lean forward over Hugging Face weights, with sub-layers switched per call.

The weights, the config and their loading stay the library's. The forward is ours because sub-layers must be skippable, the cache
must be written at slots, and for small batches what happens between kernels decides the speed. There are two of it: `NativeForward` is
one call of compiled code on a processor, `EagerForward` is torch's operators anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from casspec.runtime.model.forward_input import CONTEXT_STEP, ForwardInput
from casspec.runtime.model.kv_cache import KVCache
from casspec.runtime.model.lean.eager_forward import EagerForward
from casspec.runtime.model.lean.families import Dimensions, family_of
from casspec.runtime.model.lean.native_forward import NativeForward, Workspace
from casspec.runtime.model.lean.packed_weights import PackedModel, drained, native_refusal
from casspec.runtime.model.lean.quantization import quantised, refusal
from casspec.runtime.model.lean.weights import DecoderWeights, LayerWeights, MappedFiles, fuse
from casspec.runtime.model.plan import Plan, Steps
from casspec.storage.errors import UnsupportedModel, UnsupportedOption
from casspec.storage.schema import ModelFingerprint, Precision

Forward = EagerForward | NativeForward


class TargetModel:
    """A causal language model with switchable sub-layers.

    Built by `casspec.load_target` or around a loaded library model: `TargetModel(model, tokenizer)`. The library model stays usable:
    its parameters become views of the fused tensors, so nothing is held twice until weights are packed.

    Args:
        pack: as `pack` does, at once.
        owned: nobody else reads these weights, and they are as their file has them: what was copied is let go at once. Packed, they are
            not held twice; `library_model` fills the library's own again.

    Raises:
        UnsupportedModel: a family or feature the forward does not cover, by name.
    """

    def __init__(
        self, model: Any, tokenizer: Any = None, name: str = "", pack: bool = False, owned: bool = False
    ) -> None:
        config = model.config
        self.family = family_of(config)
        self.config = config
        self.tokenizer = tokenizer
        self.name = name or getattr(config, "name_or_path", "") or self.family.name
        self.n_layers: int = config.num_hidden_layers
        self.sizes = Dimensions.of(config)
        self.hidden_size, self.intermediate_size = self.sizes.hidden, self.sizes.intermediate
        self.n_heads, self.n_kv_heads, self.head_dim = self.sizes.heads, self.sizes.kv_heads, self.sizes.head_dim
        self.vocab_size = self.sizes.vocab
        self.max_context: int = config.max_position_embeddings
        self.full_plan = Plan.full(self.n_layers)
        self.fingerprint: ModelFingerprint | None = None
        """Kept by whoever loaded the model, before its weights were let go."""
        self.rows_are_independent: bool | None = None
        """What `row_check.py` measured, once it did."""

        _refuse_mixed_weights(model)
        _refuse_activation(config)
        embedding: Tensor = model.model.embed_tokens.weight.detach()
        self.dtype: torch.dtype = embedding.dtype
        self.device: torch.device = embedding.device
        self.parameter_count: int = sum(parameter.numel() for parameter in model.parameters())
        self._model = model
        self._packed: PackedModel | None = None
        self._embedding, self._final_norm = embedding, model.model.norm.weight.detach()
        self._weights: dict[Precision, DecoderWeights] = {}
        self._forwards: dict[Precision, Forward] = {}
        files = MappedFiles() if owned else None
        layers = (fuse(layer, self.family.qk_norm, files) for layer in model.model.layers)
        weights = DecoderWeights([], model.lm_head.weight.detach(), self.dtype, self.device)
        with torch.no_grad():
            self._angles = self._rotary_angles(model.model.rotary_emb)
            if pack and native_refusal(weights, self.sizes) is None:
                self._pack(weights, layers, release=owned)
            else:
                weights.layers = list(layers)
                self._serve(weights)

    def __deepcopy__(self, memo: dict[int, Any]) -> TargetModel:
        """Itself: there is one of a model's weights."""
        return self

    @torch.no_grad()
    def pack(self, release: bool = False) -> None:
        """Puts the weights in the order that the native forward reads them; nothing happens where that cannot run.

        It is much faster on a processor and takes as much memory again, and does not see later changes of the library model's weights.

        Args:
            release: lets the library model's linears go, layer by layer, so that nothing is held twice; `library_model` fills them again.
        """
        weights = self.weights
        if self._packed is not None or native_refusal(weights, self.sizes) is not None:
            return
        self._forwards.clear()
        self._weights.clear()
        self._pack(weights, drained(weights.layers), release)

    def _pack(self, weights: DecoderWeights, layers: Iterable[LayerWeights], release: bool) -> None:
        self._workspace = Workspace(self.sizes)
        model = self._model if release else None
        self._packed = PackedModel(weights, layers, self._embedding, self._final_norm, model)
        self._embedding = self._final_norm = torch.empty(0)
        self._serve(self._packed.weights)

    def _serve(self, weights: DecoderWeights) -> None:
        self._weights[Precision.TARGET] = weights
        self._forwards[Precision.TARGET] = self._forward_over(weights, Precision.TARGET)

    @property
    def library_model(self) -> Any:
        """transformers' own model. Where its weights were let go it is filled again from the packed ones, for good."""
        if self._packed is not None and self._packed.released:
            self._packed.restore(self._model)
        return self._model

    @library_model.setter
    def library_model(self, model: Any) -> None:
        self._model = model

    @property
    def is_native(self) -> bool:
        """Whether its forward is native code."""
        return self._packed is not None

    @property
    def generation_config(self) -> Any:
        """transformers' own of the model; None for one without."""
        return getattr(self._model, "generation_config", None)

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        """End-of-sequence ids of the generation config, () when it names none."""
        eos = getattr(self.generation_config, "eos_token_id", None)
        return () if eos is None else tuple(eos) if isinstance(eos, list | tuple) else (eos,)

    @property
    def dtype_name(self) -> str:
        """Of its weights, for instance "bfloat16"."""
        return str(self.dtype).removeprefix("torch.")

    def new_cache(self, capacity: int, batch: int = 1) -> KVCache:
        """A cache of `capacity` rows a sequence, rounded up to CONTEXT_STEP, in the model's dtype on its device."""
        return self._own.new_cache(-(-capacity // CONTEXT_STEP) * CONTEXT_STEP, batch)

    @torch.inference_mode()
    def forward(self, inputs: ForwardInput, cache: KVCache, plan: Plan, wanted: Tensor | None = None) -> Tensor:
        """Runs the sub-layers of `plan`, writes their cache rows, returns logits: float32 of a native forward, else of the model's dtype.

        Returns:
            [batch * queries, vocab], or of the rows `wanted` (int64) alone.
        """
        return self._forward_of(plan.precision).logits(inputs, cache, plan.steps, wanted)

    @torch.inference_mode()
    def hidden(self, inputs: ForwardInput, cache: KVCache, plan: Plan) -> Tensor:
        """As `forward`, without the head: final-norm hidden states [batch * queries, hidden]."""
        return self._forward_of(plan.precision).hidden(inputs, cache, plan.steps)

    @torch.inference_mode()
    def read(self, hidden: Tensor) -> Tensor:
        """Logits [rows, vocab] of final-norm hidden states [rows, hidden]."""
        return self._own.read(hidden)

    # ------------------------------------------------------------------------------- the parts of a forward, in order

    def frame(self, inputs: ForwardInput, cache: KVCache) -> Any:
        """What all attention sub-layers of one forward share; valid until `inputs` change."""
        return self._own.frame(inputs, cache)

    @torch.inference_mode()
    def embed(self, inputs: ForwardInput) -> Tensor:
        """The residual stream before the first layer [batch * queries, hidden]."""
        return self._own.embed(inputs)

    @torch.inference_mode()
    def advanced(self, x: Tensor, frame: Any, steps: Steps) -> Tensor:
        """The residual stream after some sub-layers; those with attention write cache rows and need the frame."""
        return self._own.advanced(x, frame, steps)

    @torch.inference_mode()
    def normalised(self, x: Tensor) -> Tensor:
        """The final norm [rows, hidden]."""
        return self._own.normalised(x)

    # ------------------------------------------------------------------------------------------------------ precisions

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
        self._forwards[precision] = self._forward_over(self._weights[precision], precision)

    def release(self, precision: Precision) -> None:
        """Frees the packed weights of a precision; a later forward packs them again."""
        if precision is not Precision.TARGET:
            self._weights.pop(precision, None)
            self._forwards.pop(precision, None)

    def is_prepared(self, precision: Precision) -> bool:
        """Whether forwards of this precision can run without packing weights first."""
        return precision in self._forwards

    @property
    def _own(self) -> Forward:
        return self._forwards[Precision.TARGET]

    def _forward_of(self, precision: Precision) -> Forward:
        if precision not in self._forwards:
            self.prepare(precision)
        return self._forwards[precision]

    def _forward_over(self, weights: DecoderWeights, precision: Precision) -> Forward:
        if self._packed is None:
            return EagerForward(self.sizes, weights, self._embedding, self._final_norm, self._angles)
        packed = self._packed
        return NativeForward(
            self.sizes, weights, packed.embedding, packed.final_norm, self._angles, self._workspace, precision
        )

    def _rotary_angles(self, rotary: Any) -> Tensor:
        """Cosines and sines for every position [context, head_dim] in float32, from the library's frequencies."""
        frequencies = rotary.inv_freq.float()
        angles = torch.arange(self.max_context, device=self.device, dtype=torch.float32)[:, None] * frequencies.to(
            self.device
        )
        scaling = rotary.attention_scaling
        return torch.cat((angles.cos() * scaling, angles.sin() * scaling), -1)


def _refuse_activation(config: Any) -> None:
    if config.hidden_act not in ("silu", "swish"):
        raise UnsupportedModel(f"activation '{config.hidden_act}' is not supported; supported: silu")


def _refuse_mixed_weights(model: Any) -> None:
    places = {(str(parameter.dtype).removeprefix("torch."), str(parameter.device)) for parameter in model.parameters()}
    if len(places) > 1:
        found = ", ".join(f"{dtype} on {device}" for dtype, device in sorted(places))
        raise UnsupportedModel(f"the weights are spread over {found}; load the model in one dtype on one device")
