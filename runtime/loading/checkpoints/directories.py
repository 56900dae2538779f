"""What a model's directory holds, looked at before anything is read: weights that cannot be, and code that would have to run."""

from __future__ import annotations

import json
from pathlib import Path

from casspec.storage.errors import UnknownModel, UnsupportedModel

CONFIG = "config.json"
ADAPTER = "adapter_config.json"
INDEX = "model.safetensors.index.json"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
"""Weights in a form that runs code when it is read."""


def check_directory(path: str | Path) -> None:
    """Nothing for what is no directory, or one without a config: the library says what is wrong with it.

    Raises:
        UnknownModel: parts of the weights are missing, by name.
        UnsupportedModel: they are pickled, the model needs code of its own, or it is an adapter.
    """
    place = Path(path).expanduser()
    if (place / ADAPTER).is_file():
        has_base = (place / CONFIG).is_file()
        raise UnsupportedModel(
            f"'{path}' holds a model and an adapter; keep them in two directories and name both, the adapter by --adapter"
            if has_base
            else f"'{path}' is an adapter, not a model; name its base as the model and this directory by --adapter"
        )
    if not (place / CONFIG).is_file():
        return
    _refuse_own_code(place)
    if (place / INDEX).is_file():
        _check_parts(place)
    elif not any(place.glob("*.safetensors")):
        pickled = sorted(file.name for pattern in PICKLES for file in place.glob(pattern))
        if pickled:
            raise UnsupportedModel(
                f"'{path}' holds its weights as {pickled[0]}, a pickle that can run code; convert it to safetensors "
                "(load it with transformers where you trust it, then save_pretrained)"
            )


def _check_parts(place: Path) -> None:
    try:
        names = set(json.loads((place / INDEX).read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnknownModel(
            f"'{place / INDEX}' is damaged: it does not say where each weight lies; fetch it again"
        ) from error
    missing = sorted(str(name) for name in names if not (place / str(name)).is_file())
    if missing:
        raise UnknownModel(
            f"'{place}' lacks {len(missing)} of the {len(names)} files of its weights ({', '.join(missing[:3])}); fetch it again"
        )


def _refuse_own_code(place: Path) -> None:
    """A family that the library has is read with the library's code, whatever the directory brings."""
    from transformers import CONFIG_MAPPING

    try:
        config = json.loads((place / CONFIG).read_text(encoding="utf-8"))
    except ValueError:  # the library says so
        return
    family = config.get("model_type") if isinstance(config, dict) else None
    if family is not None and family not in CONFIG_MAPPING and "auto_map" in config:
        raise UnsupportedModel(
            f"'{place}' brings code of its own for model family '{family}', which is never run; use a family that transformers has"
        )
