"""The public API, stable from 0.1 on; `casspec/__init__.py` exports it lazily."""

from __future__ import annotations

from pathlib import Path

from casspec.profile_lookup import load_profile
from casspec.reference import check_reference, reference_path
from casspec.runtime.decode import Decoder, Generation
from casspec.runtime.loading.models import load_model
from casspec.runtime.model.target import TargetModel
from casspec.runtime.policies import all_methods, register_method
from casspec.testbed import cached_testbed, is_testbed, testbed_hidden
from casspec.transformers_bridge import custom_generate

__all__ = ["Decoder", "Generation", "custom_generate", "load_profile", "load_target", "methods", "register_method"]

REFERENCE = "reference"


def load_target(name_or_path: str | Path, device: str = "cpu", dtype: str = "auto") -> TargetModel:
    """Loads a causal language model; its `tokenizer` is None when the model brings none.

    Args:
        name_or_path: a local directory, a name on the model hub, "reference" for the bundled model, or "testbed:N" for a
            model N wide of the same function, which is made when it is missing.
        device: cpu, cuda or cuda:N.
        dtype: float32, bfloat16, float16, or auto for the checkpoint's own.

    Raises:
        UnknownModel: nothing there that can be loaded.
        UnsupportedModel: a family or feature the forward does not cover.
        UnsupportedOption: a device or dtype that is not available.
        StorageError: a testbed that is missing cannot be written.
    """
    if str(name_or_path) == REFERENCE:
        check_reference()
        return load_model(reference_path(), device, dtype, name=REFERENCE)
    if is_testbed(name_or_path):
        return load_model(cached_testbed(testbed_hidden(str(name_or_path))), device, dtype, name=str(name_or_path))
    return load_model(name_or_path, device, dtype)


def methods() -> dict[str, str]:
    """What a `Decoder` can run: method ids and one line on each, those of other distributions and registered ones included."""
    return {name: method.summary for name, method in all_methods().items()}
