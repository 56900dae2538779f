"""Names of models that casspec brings itself, and the directories they stand for. Anything else is a path or a name on the model hub."""

from __future__ import annotations

from pathlib import Path

from casspec.reference import check_reference, reference_path
from casspec.smollm2 import DITHERED, SMOLLM2, cached_smollm2, smollm2_path
from casspec.testbed import cached_testbed, is_testbed, testbed_hidden, testbed_path

REFERENCE = "reference"


def directory_of(name_or_path: str | Path) -> Path | None:
    """The directory of a model named by casspec, made first when it is missing; None for anything else.

    Raises:
        UnknownModel: the name cannot be, the bundled weights are damaged, or a model cannot be fetched; UnsupportedModel: the
            extra `gguf` is missing, with which it is converted; StorageError: it cannot be written.
    """
    name = str(name_or_path)
    if name == REFERENCE:
        check_reference()
        return reference_path()
    if name in (SMOLLM2, DITHERED):
        return cached_smollm2(name)
    return cached_testbed(testbed_hidden(name)) if is_testbed(name) else None


def place_of(name_or_path: str | Path) -> Path:
    """Where a model lies: the directory of a name, whether it has been made or not, else the path itself."""
    name = str(name_or_path)
    if name == REFERENCE:
        return reference_path()
    if name in (SMOLLM2, DITHERED):
        return smollm2_path(name)
    return testbed_path(testbed_hidden(name)) if is_testbed(name) else Path(name).expanduser()
