"""`casspec export`: the file on stdout, what is lost on stderr."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from casspec.storage import open_repository

Run = Callable[..., tuple[int, str, str]]


def test_a_profile_moves_to_another_store_with_its_artifacts(run: Run, stored, tmp_path: Path) -> None:
    file, elsewhere = tmp_path / "out" / "profile.json", str(tmp_path / "other.db")
    file.parent.mkdir()
    assert run("export", stored[0].profile_id, "--output", str(file))[:2] == (0, "")
    code, out, _ = run("import", str(file), storage=elsewhere)
    assert (code, out.strip()) == (0, stored[0].profile_id)
    with open_repository(elsewhere) as repository:
        moved = repository.profile("latest")
        assert moved == stored[0]
        assert repository.artifact(moved.artifacts[0].sha256) == b"matrix"


def test_exports_keep_stdout_for_the_file_and_stderr_for_the_fidelity(run: Run, stored) -> None:
    code, out, err = run("export", stored[0].profile_id, "--to", "vllm")
    assert code == 0
    assert json.loads(out)["method"] == "ngram"
    assert err.startswith("partial: for vLLM")
    code, out, err = run("export", stored[1].profile_id, "--to", "vllm")
    assert (code, out, err.count("\n")) == (2, "", 1)


def test_export_into_a_missing_folder_is_one_line(run: Run, stored, tmp_path: Path) -> None:
    code, _, err = run("export", "latest", "--output", str(tmp_path / "missing" / "profile.json"))
    assert code == 2
    assert err.count("\n") == 1
