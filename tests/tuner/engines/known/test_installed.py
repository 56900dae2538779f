"""What is installed of an engine."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from casspec.storage.errors import EngineError
from casspec.tuner.engines.known.installed import interpreter, program, said_by, told_by


def test_the_named_file_is_taken_before_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = tmp_path / "serve-it"
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert program(None, "serve-it") == command
    assert program(Path(sys.executable), "serve-it") == interpreter(Path(sys.executable), "serve-it")
    with pytest.raises(EngineError, match="no Python beside it"):
        interpreter(None, "serve-it")
    (tmp_path / "python3").touch()
    assert interpreter(None, "serve-it") == tmp_path.resolve() / "python3"


def test_what_is_missing_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineError, match="no serve-it on PATH"):
        program(None, "serve-it")
    with pytest.raises(EngineError, match="is no file"):
        program(tmp_path / "no", "serve-it")


def test_an_interpreter_is_asked_and_what_is_no_answer_is_none(tmp_path: Path) -> None:
    python = Path(sys.executable)
    assert told_by(python, 'print("{\\"a\\": 1}")') == {"a": 1}
    assert told_by(python, "print(1)") is None
    assert told_by(python, "raise SystemExit(3)") is None
    assert told_by(tmp_path / "no", "print({})") is None
    assert said_by([python, "-c", "import sys; print(1); print(2, file=sys.stderr)"]) == ("1\n", "2\n")


def test_files_that_lie_about_are_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    assert told_by(Path(sys.executable), "import json; print(json.dumps({'a': 1}))") == {"a": 1}
