"""Remembers fingerprints of models, and which have a chat template, so that a calibrated model answers without being loaded.

A fingerprint holds for as long as no file of the model changes in size or time of change. What is remembered is only
ever a shortcut: without it, or for a model that does not lie on this machine, the model is loaded and fingerprinted.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from casspec import __version__
from casspec.model_names import place_of
from casspec.runtime.loading.names import parted
from casspec.storage.folders import user_cache_directory
from casspec.storage.schema import ModelFingerprint

CACHE_FILE = "fingerprints.json"
MOST_MODELS_REMEMBERED = 64


class KnownModel(NamedTuple):
    """What is known of a model without loading it."""

    fingerprint: ModelFingerprint
    dtype: str
    """Its actual precision."""
    backend: str
    """What its forwards run on."""
    has_chat_template: bool


def recall(model: str, dtype: str, backend: str) -> KnownModel | None:
    """What was remembered of a model that was loaded with this choice of dtype and backend before; None when that is not known."""
    key = _key(model, dtype, backend)
    entry = _read().get(key) if key else None
    try:
        if entry is None:
            return None
        fingerprint = ModelFingerprint.model_validate(entry["fingerprint"])
        return KnownModel(fingerprint, str(entry["dtype"]), str(entry["backend"]), bool(entry["has_chat_template"]))
    except (KeyError, TypeError, ValueError):
        return None


def remember(model: str, dtype: str, backend: str, known: KnownModel) -> None:
    """Keeps what `recall` gives for these choices; a cache directory that cannot be written is no error."""
    key = _key(model, dtype, backend)
    if key is None:
        return
    entries = {name: entry for name, entry in _read().items() if name != key}
    entries[key] = known._asdict() | {"fingerprint": known.fingerprint.model_dump(mode="json")}
    newest = dict(list(entries.items())[-MOST_MODELS_REMEMBERED:])
    file = user_cache_directory() / CACHE_FILE
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        fresh = file.with_suffix(f".{os.getpid()}")
        fresh.write_text(json.dumps(newest), encoding="utf-8")
        fresh.replace(file)
    except OSError:
        return


def _key(model: str, dtype: str, backend: str) -> str | None:
    """Hash of the model's files by name, size and time, with what else decides a fingerprint."""
    base, adapter = parted(model)
    places = [place_of(base)] if adapter is None else [place_of(base), Path(adapter).expanduser()]
    files = [entry for place in places for entry in _files_of(place)]
    if not all(place.exists() for place in places):
        return None
    content = json.dumps([__version__, model, [str(place.resolve()) for place in places], dtype, backend, files])
    return hashlib.sha256(content.encode()).hexdigest()


def _files_of(place: Path) -> list[tuple[str, int, int]]:
    """Name, size and time of change of a file, or of those in a directory; [] where nothing is."""
    found = sorted(place.iterdir()) if place.is_dir() else [place]
    return [(entry.name, entry.stat().st_size, entry.stat().st_mtime_ns) for entry in found if entry.is_file()]


def _read() -> dict[str, Any]:
    try:
        entries = json.loads((user_cache_directory() / CACHE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return entries if isinstance(entries, dict) else {}
