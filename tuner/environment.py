"""What a measurement depends on and a reader needs to repeat it."""

from __future__ import annotations

import platform
import re
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from casspec.runtime.loading.device import device_fingerprint
from casspec.runtime.loading.fingerprint import model_fingerprint
from casspec.runtime.model.target import TargetModel

LIBRARIES = ("casspec", "torch", "transformers", "numpy")


def environment(target: TargetModel) -> dict[str, Any]:
    """Model, device, precision, threads, library versions, source revision and command line, as JSON values."""
    return {
        "model": model_fingerprint(target).model_dump(mode="json"),
        "device": device_fingerprint(target.device).model_dump(mode="json"),
        "dtype": target.dtype_name,
        "backend": target.backend,
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES},
        "commit": source_commit(),
        "command_line": shlex.join([Path(sys.argv[0]).name, *map(without_passwords, sys.argv[1:])]),
    }


def without_passwords(word: str) -> str:
    """A word of a command line as reports may show it: they are printed, mirrored and mailed, and a storage URL may hold a password."""
    word = re.sub(r"(://[^/?#@:]*):[^@]*@", r"\1:***@", word)
    return re.sub(r"([?&]password=)[^&]*", r"\1***", word)


def source_commit(file: Path = Path(__file__)) -> str | None:
    """Git commit this code runs from, with "-dirty" when tracked files differ from it; None outside a checkout.

    A checkout counts only when `file` is tracked in it: an installation inside another project's repository is not
    that project's commit.
    """
    if _git(file.parent, "ls-files", "--error-unmatch", file.name) is None:
        return None
    commit = _git(file.parent, "rev-parse", "HEAD")
    return f"{commit}-dirty" if commit and _git(file.parent, "status", "--porcelain", "-uno") else commit


def _git(directory: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(directory), *words], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
