"""`casspec models`: families by what runs them, refusals with their reasons, and one model as it is found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from casspec.cli.main import main
from casspec.runtime.model.generic.families import TESTED
from casspec.runtime.model.lean.families import FAMILIES
from tests.runtime.tiny import library_model
from tests.runtime.tiny_families import tiny_model


def told(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["models", *words]) == 0
    return capsys.readouterr().out


def test_every_family_is_listed_once_with_what_runs_it(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(told(capsys, "list", "--format", "json"))
    assert set(found["lean"]) == FAMILIES.keys()
    assert set(found["generic"]) == TESTED - FAMILIES.keys()
    assert not found["refused"].keys() & {*found["lean"], *found["generic"]}
    assert "state" in found["refused"]["mamba"]


def test_without_a_command_families_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    plain = told(capsys)
    assert plain == told(capsys, "list")
    for name in ("llama", "gpt_oss", "mamba", "experimental", "refused: it keeps a state"):
        assert name in " ".join(plain.split())


@pytest.mark.parametrize(
    ("name", "backend", "sees"),
    [
        ("llama", "lean", "every layer sees all tokens"),
        ("gpt_oss", "generic", "2 of 4 layers see 9 tokens, the others all"),
    ],
)
def test_a_model_is_told_as_it_is_found(
    name: str, backend: str, sees: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / name
    (library_model() if name == "llama" else tiny_model(name)).save_pretrained(directory)
    words = ["check", str(directory), "--threads", "1"]
    table = " ".join(told(capsys, *words).split())
    assert f"{backend}: " in table
    assert sees in table
    assert "passed: errors of" in table
    assert "calibration about" in table
    found = json.loads(told(capsys, *words, "--format", "json"))
    assert (found["family"], found["backend"], found["passed"]) == (name, backend, True)
    assert found["errors"]["tree"] < 1e-5 < found["errors"]["wrong"]
    assert found["calibration_quick_seconds"] < found["calibration_seconds"]
    assert (found["not_lean_because"] is None) == (backend == "lean")


def test_a_refused_model_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = tmp_path / "mamba"
    tiny_model("mamba").save_pretrained(directory)
    capsys.readouterr()  # the library's bars
    assert main(["models", "check", str(directory)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert "'mamba' cannot be decoded with drafts: it keeps a state" in printed.err


def test_a_model_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "check", "/nowhere"]) == 2
    assert "no model at '/nowhere'" in capsys.readouterr().err
