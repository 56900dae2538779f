"""The profile's own JSON, the exchange format: everything, with larger artifacts in files beside it.

An artifact's file is named by its hash, so several profiles of one folder share what they have in common, and a file
that was cut short or swapped is never taken for the right one.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from casspec.storage.errors import MalformedFile, ProfileNotFound
from casspec.storage.export.exported import Exported
from casspec.storage.schema import Artifact, CascadeProfile


def export(profile: CascadeProfile) -> Exported:
    """Full."""
    text = json.dumps(profile.model_dump(mode="json"), indent=2, sort_keys=True) + "\n"
    return Exported(text, "full", f"profile JSON, schema {profile.schema_version}: read by `casspec import`")


def read(path: Path) -> CascadeProfile:
    """The profile in a JSON file. Raises ProfileNotFound without a readable file, MalformedFile for any other."""
    return parse(load_json(path), path)


def load_json(path: Path) -> Any:
    """Parsed JSON of a file. Raises ProfileNotFound without a readable file, MalformedFile when it is no JSON."""
    try:
        return json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ProfileNotFound(f"{path} cannot be read ({error.strerror}): name a file of `casspec export`") from None
    except ValueError as error:
        raise MalformedFile(f"{path} is no JSON ({error}): name a file of `casspec export`") from None


def parse(content: Any, path: Path) -> CascadeProfile:
    """The profile in parsed JSON; `path` is named in errors."""
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version is None:
        raise MalformedFile(f"{path} holds no casspec profile: expected JSON written by `casspec export --to json`")
    try:
        return CascadeProfile.model_validate_json(json.dumps(content))
    except MalformedFile as error:
        raise MalformedFile(f"{path}: {error}") from None
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, fault["loc"])) or "the document"
        raise MalformedFile(f"{path} is no valid profile, {place}: {fault['msg']}; export it again") from None


def artifact_file(profile_file: Path, artifact: Artifact) -> Path:
    """Where an artifact of the profile in `profile_file` lies."""
    return profile_file.parent / f"casspec-{_hexadecimal(artifact.sha256)[:16]}.bin"


def read_artifact(profile_file: Path, artifact: Artifact) -> bytes | None:
    """The artifact's bytes; None when its file is missing or holds anything else, so that the drafter starts cold."""
    try:
        content = artifact_file(profile_file, artifact).read_bytes()
    except OSError:
        return None
    return content if hashlib.sha256(content).hexdigest() == artifact.sha256 else None


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file that is there as a whole or, after any failure, as it was before."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _hexadecimal(sha256: str) -> str:
    """Refuses a hash that could lead a file name elsewhere."""
    if len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef"):
        raise MalformedFile(f"the profile names an artifact by {sha256!r}, expected a SHA-256: export it again")
    return sha256
