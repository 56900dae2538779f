"""Which model an engine serves: the fingerprint that profiles pin, read from the files without loading the model where that can be."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from casspec.storage.errors import SuiteError, UnknownModel
from casspec.storage.schema import ModelFingerprint

PIECES, PIECE_BYTES = 64, 4096
"""Of a file that is named by its content."""


@dataclass(frozen=True)
class ServedModel:
    """A model as an engine is given it. `place`: a directory, a GGUF file, or a name of the model hub."""

    place: str
    fingerprint: ModelFingerprint
    tokenizer: Any


def served_model(place: str, name: str) -> ServedModel:
    """Reads config, tokenizer and a few values of every weight; loads the model where its files name weights otherwise, as GGUF does.

    Raises:
        UnknownModel: no model is there, or its weights are in no file of safetensors. SuiteError: it has no tokenizer.
    """
    from casspec.runtime.loading.fingerprint import config_sha256, tokenizer_sha256, weights_sha256
    from casspec.runtime.loading.models import load_library_model

    is_path = place.startswith((os.sep, ".", "~")) or place.count("/") > 1
    if is_path and not Path(place).exists():
        raise UnknownModel(
            f"no model at '{place}': engines are given a directory, a GGUF file, or a name of the model hub"
        )
    skeleton, tokenizer, weights = (None, None, None) if Path(place).is_file() else _read(place)
    if weights is None or skeleton is None:
        skeleton, loaded = load_library_model(place)
        tokenizer, weights = tokenizer or loaded, weights_sha256(skeleton)
    if tokenizer is None:
        raise SuiteError(f"'{name}' has no tokenizer; a suite needs one beside the weights")
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


def form_name(path: Path) -> str:
    """Names a file or a directory by what is in it: its name, and a hash of sizes and of a few pieces of every file."""
    found = hashlib.sha256()
    for file in sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]:
        size = file.stat().st_size
        found.update(f"{file.name} {size} ".encode())
        with file.open("rb") as content:
            for place in range(0, size, max(size // PIECES, PIECE_BYTES)):
                content.seek(place)
                found.update(content.read(PIECE_BYTES))
    return f"{path.name} {found.hexdigest()[:12]}"


def _read(place: str) -> tuple[Any, Any, str | None]:
    """Of a directory or a name: the model without weights, tokenizer, and hash of the weights; None for what has to be loaded."""
    from casspec.runtime.loading.models import load_config, quiet_library

    config = load_config(place)
    with quiet_library():
        tokenizer = _tokenizer(place)
        skeleton = _skeleton(config)
        weights = None if skeleton is None or tokenizer is None else _weights_sha256(Path(place), skeleton)
    return skeleton, tokenizer, weights


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
