"""A profile as a file, and the bytes beside it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from casspec.storage.errors import CasspecError, MalformedFile, ProfileNotFound
from casspec.storage.export import exporter, json_profile
from casspec.storage.schema import Artifact
from tests.storage import samples


def test_json_carries_the_whole_profile(tmp_path: Path) -> None:
    profile = samples.profile()
    exported = exporter("json")(profile)
    file = tmp_path / "profile.json"
    file.write_text(exported.text)
    assert exported.fidelity == "full"
    assert json_profile.read(file) == profile


def broken_latency() -> str:
    """A profile whose latency model lacks a coefficient."""
    content = samples.profile().model_dump(mode="json")
    del content["latency"]["coefficients"][0]
    return json.dumps(content)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "is no JSON"),
        ("[1]", "holds no casspec profile"),
        ('{"schema_version": 99}', "upgrade casspec"),
        ('{"schema_version": 1, "dtype": 3}', "is no valid profile"),
        ('{"schema_version": "x"}', "is no valid profile"),
        (broken_latency(), "is no valid profile, latency: .*as many coefficients"),
    ],
)
def test_files_that_hold_no_profile_are_refused_in_one_line(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "profile.json"
    file.write_text(text)
    with pytest.raises(MalformedFile, match=expected) as caught:
        json_profile.read(file)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_no_profile(tmp_path: Path) -> None:
    with pytest.raises(ProfileNotFound, match="cannot be read"):
        json_profile.read(tmp_path / "nothing.json")


def test_an_artifact_counts_only_with_the_right_bytes(tmp_path: Path) -> None:
    content = b"matrix"
    artifact = Artifact(name="../escape", sha256=hashlib.sha256(content).hexdigest(), n_bytes=len(content))
    profile_file = tmp_path / "profile.json"
    assert json_profile.read_artifact(profile_file, artifact) is None
    file = json_profile.artifact_file(profile_file, artifact)
    assert file.parent == tmp_path
    file.write_bytes(content)
    assert json_profile.read_artifact(profile_file, artifact) == content
    file.write_bytes(content[:-1])
    assert json_profile.read_artifact(profile_file, artifact) is None
    with pytest.raises(CasspecError, match="expected a SHA-256"):
        json_profile.artifact_file(profile_file, artifact.model_copy(update={"sha256": "../../etc"}))


def test_a_failed_write_leaves_the_earlier_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "profile.json"
    json_profile.write_whole(file, b"first")

    def full(self: Path, content: bytes) -> int:
        with self.open("wb") as handle:
            handle.write(content[:2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        json_profile.write_whole(file, b"second")
    assert file.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [file]
