"""Prompts that came with a job: JSON lines, read as data and kept in the store under their hash."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from casspec.storage.errors import SuiteError
from casspec.storage.export.json_profile import write_whole
from casspec.storage.folders import user_cache_directory
from casspec.storage.repository import Repository
from casspec.tuner.suites.load import load_suite
from casspec.tuner.suites.prompts import Suite, reporting_half

ARTIFACT = "suite"


def keep_suite(repository: Repository, lines: str) -> str:
    """Stores prompts and returns the hash that jobs name them by. Raises SuiteError for what is no suite of JSON lines."""
    content, _ = _read(lines, strict=True)
    return repository.save_artifact(ARTIFACT, content).sha256


def keep_traffic(repository: Repository, lines: str) -> str:
    """The same of requests that a server recorded: those that are no prompts are passed over.

    Raises SuiteError too where they are too few to have a half that figures are measured on.
    """
    content, suite = _read(lines, strict=False)
    reporting_half(suite)
    return repository.save_artifact(ARTIFACT, content).sha256


def _read(lines: str, strict: bool) -> tuple[bytes, Suite]:
    """The bytes that are stored, and what they hold."""
    try:
        content = lines.encode()
    except UnicodeEncodeError:
        raise SuiteError("the suite holds half a character (a lone surrogate): send it as UTF-8") from None
    with tempfile.TemporaryDirectory(prefix="casspec-suite-") as folder:
        file = Path(folder) / "suite.jsonl"
        file.write_bytes(content)
        try:
            return content, load_suite(file, strict)
        except SuiteError as error:
            raise SuiteError(str(error).replace(str(file), "the suite")) from None


def kept_suite(repository: Repository, sha256: str) -> tuple[str, Suite]:
    """Prompts from the store, and the file of this machine where they lie from now on.

    Raises SuiteError where they are not in the store, or hold anything else.
    """
    content = repository.artifact(sha256)
    if content is None or hashlib.sha256(content).hexdigest() != sha256:
        raise SuiteError(f"the suite {sha256[:12]} is not in the store: submit the job again, with its suite")
    file = user_cache_directory() / "suites" / f"{sha256}.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, content)
    return str(file), load_suite(file)
