"""Which model an engine serves: the fingerprint that profiles pin, read from the files without loading the model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from casspec.storage.errors import SuiteError, UnknownModel
from casspec.storage.schema import ModelFingerprint


@dataclass(frozen=True)
class ServedModel:
    """A model as an engine is given it. `place`: a directory, or a name of the model hub."""

    place: str
    fingerprint: ModelFingerprint
    tokenizer: Any


def served_model(place: str, name: str) -> ServedModel:
    """Reads config, tokenizer and a few values of every weight; loads the model where its files name weights otherwise.

    Raises:
        UnknownModel: no model is there, or its weights are in no file of safetensors. SuiteError: it has no tokenizer.
    """
    from casspec.runtime.loading.fingerprint import config_sha256, tokenizer_sha256, weights_sha256
    from casspec.runtime.loading.models import load_config, load_library_model, quiet_library

    is_path = place.startswith((os.sep, ".", "~")) or place.count("/") > 1
    if is_path and not Path(place).is_dir():
        raise UnknownModel(f"no model at '{place}': engines are given a directory, or a name of the model hub")
    config = load_config(place)
    with quiet_library():
        tokenizer = _tokenizer(place)
        skeleton = _skeleton(config)
        weights = None if skeleton is None else _weights_sha256(Path(place), skeleton)
    if tokenizer is None:
        raise SuiteError(f"'{name}' has no tokenizer; a suite needs one beside the weights")
    if weights is None or skeleton is None:
        skeleton, _ = load_library_model(place)
        weights = weights_sha256(skeleton)
    settings = skeleton.config
    return ServedModel(
        place,
        ModelFingerprint(
            name=name,
            family=settings.model_type,
            config_sha256=config_sha256(settings),
            weights_sha256=weights,
            tokenizer_sha256=tokenizer_sha256(tokenizer),
            parameters=sum(parameter.numel() for parameter in skeleton.parameters()),
            n_layers=settings.num_hidden_layers,
            hidden_size=settings.hidden_size,
            vocab_size=settings.vocab_size,
            max_context=settings.max_position_embeddings,
        ),
        tokenizer,
    )


def _tokenizer(place: str) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(place, trust_remote_code=False)
    except Exception:  # the tokenizers library raises bare ones: whatever it was, there is none that can be used
        return None


def _skeleton(config: Any) -> Any:
    """The library's model without weights; None for what is no plain language model."""
    import torch
    from transformers import AutoModelForCausalLM

    if hasattr(config, "text_config") or getattr(config, "quantization_config", None):
        return None
    try:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except (ValueError, TypeError, RuntimeError, NotImplementedError):
        return None


def _weights_sha256(directory: Path, skeleton: Any) -> str | None:
    """None where the files do not hold the model's parameters by their names and shapes."""
    from safetensors import safe_open

    from casspec.runtime.loading.fingerprint import sampled_sha256

    with ExitStack() as stack:
        files = [stack.enter_context(safe_open(file, "pt")) for file in sorted(directory.glob("*.safetensors"))]
        holder = {name: file for file in files for name in file.keys()}  # noqa: SIM118 - no mapping
        parameters = dict(skeleton.named_parameters())
        if not parameters or not parameters.keys() <= holder.keys():
            return None

        def read() -> Iterator[tuple[str, Any]]:
            for name, parameter in parameters.items():
                tensor = holder[name].get_tensor(name)
                if tensor.shape != parameter.shape:
                    raise UnknownModel(
                        f"'{directory}' holds a weight of another size than its config asks for ({name}); fetch it again"
                    )
                yield name, tensor

        return sampled_sha256(read())
