"""TargetModel: a causal language model whose sub-layers are switched per call, whatever its forwards run on.

The weights, the config and their loading stay the library's. What runs a forward is a backend (`backend.py`): `lean/` is a forward of
ours for the families it covers, `generic/` runs the library's own layers. Both write the cache at slots and take any plan.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from casspec.runtime.model.backend import Backend
from casspec.runtime.model.forward_input import CONTEXT_STEP, ForwardInput
from casspec.runtime.model.generic.families import TESTED
from casspec.runtime.model.joint_input import JointInput
from casspec.runtime.model.kv_cache import KVCache
from casspec.runtime.model.lean.backend import LeanBackend, lean_refusal
from casspec.runtime.model.lean.families import FAMILIES
from casspec.runtime.model.plan import Plan, Steps
from casspec.runtime.model.transfers import to_device, to_host
from casspec.runtime.model.tree_check import TreeErrors, straight_texts, tree_errors
from casspec.storage.errors import UnsupportedModel, UnsupportedOption
from casspec.storage.schema import Backend as BackendName
from casspec.storage.schema import Forwards, ModelFingerprint, Precision

BackendChoice = Literal["auto", "lean", "generic"]


class TargetModel:
    """A causal language model with switchable sub-layers.

    Built by `casspec.load_target` or around a loaded library model: `TargetModel(model, tokenizer)`. The library model stays usable:
    its parameters become views of the fused tensors, so nothing is held twice until weights are packed.

    Args:
        pack: as `pack` does, at once.
        owned: nobody else reads these weights, and they are as their file has them: what was copied is let go at once. Packed, they are
            not held twice; `library_model` fills the library's own again.
        backend: lean, generic, or auto for lean where it covers the model.
        compiles: forwards are captured as graphs on CUDA (lean backend). False calls torch's operators, and on a processor packs nothing.

    Raises:
        UnsupportedModel: a family or feature that no backend covers, by name.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        name: str = "",
        pack: bool = False,
        owned: bool = False,
        backend: BackendChoice = "auto",
        compiles: bool = True,
    ) -> None:
        config = model.config
        self.config = config
        self.family: str = config.model_type
        self.tokenizer = tokenizer
        self.name = name or getattr(config, "name_or_path", "") or self.family
        self.parameter_count: int = sum(parameter.numel() for parameter in model.parameters())
        self._model = model
        self._compiles = compiles
        self._backend = _backend(model, pack and compiles, owned, backend, compiles)
        self.n_layers = len(self._backend.layer_rows)
        self.full_plan = Plan.full(self.n_layers)
        self.fingerprint: ModelFingerprint | None = None
        """Kept by whoever loaded the model, before its weights were let go."""
        self._cache_shape: tuple[int, int] | None = None
        self.rows_are_independent: bool | None = None
        """What `row_check.py` measured, once it did."""
        self.hidden_size, self.vocab_size = self._backend.hidden_size, self._backend.vocab_size
        self.max_context, self.dtype, self.device = (
            self._backend.max_context,
            self._backend.dtype,
            self._backend.device,
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> TargetModel:
        """Itself: there is one of a model's weights."""
        return self

    def pack(self, release: bool = False) -> None:
        """Puts the weights in the order that native code reads them; nothing happens where that cannot run.

        It is much faster on a processor and takes as much memory again, and does not see later changes of the library model's weights.

        Args:
            release: lets the library model's linears go, layer by layer, so that nothing is held twice; `library_model` fills them again.
        """
        self._backend.pack(self._model, release)

    @property
    def library_model(self) -> Any:
        """transformers' own model. Where its weights were let go it is filled again from the packed ones, for good."""
        self._backend.restore(self._model)
        return self._model

    @library_model.setter
    def library_model(self, model: Any) -> None:
        self._model = model

    @property
    def backend(self) -> BackendName:
        """What its forwards run on."""
        return self._backend.name

    @property
    def forwards(self) -> Forwards | None:
        """How forwards run, where that is not how its backend runs them on any device of the kind."""
        if self._backend.is_captured:
            return "graphs"
        return "operators" if self.device.type == "cpu" and not self._compiles else None

    @property
    def graphs_refusal(self) -> str | None:
        """Why no forward of it can be captured as a graph, in one line; None where they can, be that on or off."""
        return self._backend.graphs_refusal

    @contextmanager
    def captured(self, on: bool) -> Iterator[None]:
        """Runs the block's forwards as graphs, or as they are. Raises UnsupportedOption where they are to be and cannot."""
        if on and self.graphs_refusal is not None:
            raise UnsupportedOption(f"forwards cannot run as CUDA graphs: {self.graphs_refusal}; run them without")
        before = self._backend.is_captured
        self._backend.capture(on)
        try:
            yield
        finally:
            self._backend.capture(before)

    def tree_errors(self) -> TreeErrors:
        """Compares its forwards over a tree with the library's own. Weights that were let go are filled again for that."""
        return tree_errors(self._backend, straight_texts(self._backend, self.library_model))

    @property
    def windows(self) -> tuple[int | None, ...]:
        """By layer, the positions that a query sees, its own included; None for all."""
        return tuple(rows.window for rows in self._backend.layer_rows)

    @property
    def is_separable(self) -> bool:
        """Whether plans leave single sub-layers out; where not, they leave out whole layers."""
        return getattr(self._backend, "is_separable", True)

    @property
    def lean_refusal(self) -> str | None:
        """Why the lean backend was not taken, in one line; None where it was, or was not to be."""
        return None if self.backend == "lean" else lean_refusal(self._model)

    @property
    def is_experimental(self) -> bool:
        """Whether its family is not among those that are tested: it passed the checks, and that is all that is known of it."""
        return self.backend == "generic" and self.family not in TESTED

    @property
    def lean(self) -> LeanBackend:
        """Its backend where that is the lean one. Raises TypeError elsewhere."""
        if not isinstance(self._backend, LeanBackend):
            raise TypeError(f"'{self.name}' runs on the {self.backend} backend")
        return self._backend

    @property
    def is_native(self) -> bool:
        """Whether native code runs its forward, or the linears of it."""
        return self._backend.is_native

    @property
    def native_refusal(self) -> str | None:
        """Why native code cannot, in one line; None where it can."""
        return self._backend.native_refusal

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

    @property
    def cached_bytes(self) -> int:
        """Memory of one token in the cache, over all layers."""
        return self.dtype.itemsize * sum(layer.numbers for layer in self._backend.layer_rows)

    def cache_bytes(self, capacity: int) -> int:
        """Memory of a cache of so many rows of one sequence, as `new_cache` makes it."""
        if self._cache_shape is None:
            small = self.new_cache(CONTEXT_STEP)
            self._cache_shape = small.slots - small.capacity, small.n_bytes // small.slots
        scratch, row_bytes = self._cache_shape
        return (-(-capacity // CONTEXT_STEP) * CONTEXT_STEP + scratch) * row_bytes

    def costs(self) -> dict[str, float]:
        """Bytes and operations of its parts, as `Backend.costs` has them."""
        return self._backend.costs()

    def new_cache(self, capacity: int, batch: int = 1) -> KVCache:
        """A cache of `capacity` rows a sequence, rounded up to CONTEXT_STEP, in the model's dtype on its device."""
        return self._backend.new_cache(-(-capacity // CONTEXT_STEP) * CONTEXT_STEP, batch)

    def reserve_caches(self, n_bytes: int) -> None:
        """Sets memory aside for caches of one sequence, so that captured forwards serve any of them together; once a model.

        Nothing happens where no forward is captured. Caches that find no room there have memory of their own.
        """
        self._backend.reserve(n_bytes)

    @torch.inference_mode()
    def forward(self, inputs: ForwardInput, cache: KVCache, plan: Plan, wanted: Tensor | None = None) -> Tensor:
        """Runs the sub-layers of `plan`, writes their cache rows, returns logits: float32 of a native forward, else of the model's dtype.

        Returns:
            [batch * queries, vocab], or of the rows `wanted` (int64) alone; valid until the next forward.
        """
        self.prepare(plan.precision)
        return self._backend.logits(inputs, cache, plan, wanted)

    @torch.inference_mode()
    def fill(self, inputs: ForwardInput, cache: KVCache, plan: Plan, wanted: list[int]) -> Tensor:
        """As `forward` over a chunk of a prompt: logits of the rows `wanted` alone, which may be none."""
        hidden = self.hidden(inputs, cache, plan)
        return self.read(hidden.index_select(0, to_device(wanted, self.device))) if wanted else hidden[:0]

    @torch.inference_mode()
    def joint_forward(self, inputs: JointInput, plan: Plan, wanted: Tensor | None = None) -> Tensor:
        """As `forward`, over rows of several sequences, each with a cache of its own: linears run over all rows at once.

        Returns:
            [rows, vocab], the rows of one sequence after those of the other, or of the rows `wanted` (int64) alone.
        """
        self.prepare(plan.precision)
        return self._backend.joint_logits(inputs, plan, wanted)

    @torch.inference_mode()
    def hidden(self, inputs: ForwardInput, cache: KVCache, plan: Plan) -> Tensor:
        """As `forward`, without the head: final-norm hidden states [batch * queries, hidden]."""
        self.prepare(plan.precision)
        return self._backend.hidden(inputs, cache, plan)

    @torch.inference_mode()
    def read(self, hidden: Tensor) -> Tensor:
        """Logits [rows, vocab] of final-norm hidden states [rows, hidden]."""
        return self._backend.read(hidden)

    def heard(self, answers: Tensor) -> np.ndarray:
        """The numbers of a tensor on the device, which is waited for: the one read of a forward."""
        return to_host(answers)

    # ------------------------------------------------------------------------------- the parts of a forward, in order

    def frame(self, inputs: ForwardInput, cache: KVCache) -> Any:
        """What all attention sub-layers of one forward share; valid until `inputs` change."""
        return self._backend.frame(inputs, cache)

    @torch.inference_mode()
    def embed(self, inputs: ForwardInput) -> Tensor:
        """The residual stream before the first layer [batch * queries, hidden]."""
        return self._backend.embed(inputs)

    @torch.inference_mode()
    def advanced(self, x: Tensor, frame: Any, steps: Steps) -> Tensor:
        """The residual stream after some sub-layers; those with attention write cache rows and need the frame."""
        return self._backend.advanced(x, frame, steps)

    @torch.inference_mode()
    def normalised(self, x: Tensor) -> Tensor:
        """The final norm [rows, hidden]."""
        return self._backend.normalised(x)

    # ------------------------------------------------------------------------------------------------------ precisions

    def refusal(self, precision: Precision) -> str | None:
        """Why plans of this precision cannot run here, in one line; None when they can."""
        return self._backend.refusal(precision)

    def prepare(self, precision: Precision) -> None:
        """Packs the weights of a precision, unless that is done; the first forward of a plan would otherwise wait for it.

        Raises UnsupportedOption where the precision is not available.
        """
        if self._backend.is_prepared(precision):
            return
        reason = self.refusal(precision)
        if reason:
            raise UnsupportedOption(
                f"plans in {precision} cannot run here: {reason}; use precision '{Precision.TARGET}'"
            )
        self._backend.prepare(precision)

    def release(self, precision: Precision) -> None:
        """Frees the packed weights of a precision; a later forward packs them again."""
        self._backend.release(precision)

    def is_prepared(self, precision: Precision) -> bool:
        """Whether forwards of this precision can run without packing weights first."""
        return self._backend.is_prepared(precision)

    def extra_bytes(self, precision: Precision) -> int:
        """Memory that the packed weights of a precision take beside the target's own."""
        return self._backend.extra_bytes(precision)


def _backend(model: Any, pack: bool, owned: bool, choice: BackendChoice, compiles: bool) -> Backend:
    """The lean one where it covers the model, unless the generic one is asked for. Raises UnsupportedModel."""
    refusal = None if choice == "generic" else lean_refusal(model)
    if refusal is None and choice != "generic":
        return LeanBackend(model, pack, owned, captures=compiles)
    if choice == "lean":
        raise UnsupportedModel(f"the lean backend does not cover this model: {refusal}; use backend auto")
    from casspec.runtime.model.generic.backend import GenericBackend  # needs transformers, whose import takes a second
    from casspec.runtime.model.generic.checks import check
    from casspec.runtime.model.generic.refusals import attention_refusal

    reason = attention_refusal(model.config)
    if reason is not None:
        raise UnsupportedModel(reason)
    try:
        generic = GenericBackend(model)
        check(generic, model, pack, owned)
    except UnsupportedModel as error:
        hint = "; the model is in training mode: call its eval() first" if getattr(model, "training", False) else ""
        if model.config.model_type in FAMILIES and choice != "generic":
            raise UnsupportedModel(f"{error}; nor by the lean backend: {refusal}{hint}") from error
        raise UnsupportedModel(f"{error}{hint}") from error
    return generic
