"""The bundled reference model and the committed list of its prompt suite; MODEL_CARD.md tells where it comes from.

Read `train.py`, the recipe: `corpus.py` is the text, `optimizer.py` Muon and AdamW, `checkpoint.py` an unfinished training. Beside them
lie the weights, their tokenizer and configuration, the modules held out of training, and `suite-3.11.json`, the list of the suite for
Python 3.11. To add a list for another Python, write it with `casspec reference suite`.

The identity is frozen: `reference-v1` is the name of one weights file, known by its SHA-256. Any other training, by the
same recipe or not, bears another name.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from casspec.storage.errors import UnknownModel

REFERENCE_NAME = "reference-v1"
REFERENCE_SHA256 = "7c1df5e02e005e506d9e213bb287967ab3a561aad24daa0a6c2bf82349904be7"
WEIGHTS_FILE = "model.safetensors"


def reference_path() -> Path:
    """The directory of the bundled model, loadable like any other model directory."""
    return Path(__file__).parent


def weights_sha256(directory: Path) -> str:
    """SHA-256 of the weights file in a model directory, 64 hexadecimal digits."""
    with (directory / WEIGHTS_FILE).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def model_name(directory: Path) -> str:
    """`reference-v1` for exactly the frozen weights; for any others a name made of their hash."""
    digest = weights_sha256(directory)
    return REFERENCE_NAME if digest == REFERENCE_SHA256 else f"casspec-{digest[:12]}"


def check_reference() -> None:
    """Raises UnknownModel when the installed weights are not those of `reference-v1` (a damaged installation)."""
    directory = reference_path()
    found = weights_sha256(directory) if (directory / WEIGHTS_FILE).is_file() else "no file"
    if found != REFERENCE_SHA256:
        raise UnknownModel(
            f"{directory / WEIGHTS_FILE} is not {REFERENCE_NAME}: SHA-256 {found}, expected {REFERENCE_SHA256}; "
            "reinstall casspec"
        )
