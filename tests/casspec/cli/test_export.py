"""`casspec export`: the file on stdout, what is lost on stderr."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from casspec.storage import open_repository
from casspec.storage.export.engine_file import file_text
from tests.storage import samples
from tests.storage.engines.test_documents import result, subject

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


def test_an_engine_that_was_measured_gets_what_was_measured(run: Run, stored, storage: str) -> None:
    other = subject(model=samples.model(weights_sha256="x" * 64))
    elsewhere = subject(device=samples.device(name="another processor"))
    with open_repository(storage) as repository:
        for each in (subject(), other, elsewhere):
            repository.engines.begin(each)
        repository.engines.save_result(result(subject=other))
        repository.engines.save_result(result(subject=elsewhere))
    assert "translated" in run("export", stored[0].profile_id, "--to", "vllm")[2]
    with open_repository(storage) as repository:
        repository.engines.save_result(result())
    code, out, err = run("export", stored[1].profile_id, "--to", "vllm")
    assert (code, json.loads(out)) == (0, result().configuration)
    assert err.startswith("full: measured with vllm 0.33.0")


@pytest.mark.parametrize("target", ["vllm", "sglang", "tensorrt-llm", "llama.cpp"])
def test_what_one_engine_was_measured_at_is_no_other_engine_s(run: Run, stored, storage: str, target: str) -> None:
    for engine in ("vllm", "sglang", "tensorrt-llm", "llama.cpp"):
        if engine != target:
            measured = subject(engine=engine)
            with open_repository(storage) as repository:
                repository.engines.begin(measured)
                repository.engines.save_result(result(subject=measured))
    code, _, err = run("export", stored[0].profile_id, "--to", target)
    assert code == 0
    assert err.startswith("partial: for ")
    assert "translated" in err
    own = subject(engine=target)
    with open_repository(storage) as repository:
        repository.engines.begin(own)
        repository.engines.save_result(result(subject=own))
    code, out, err = run("export", stored[0].profile_id, "--to", target)
    assert (code, out) == (0, file_text(target, dict(sorted((result().configuration or {}).items()))))
    assert err.startswith(f"full: measured with {target} ")
