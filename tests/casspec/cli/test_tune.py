"""`casspec tune --methods` as a user runs it, on a tiny calibration."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

import pytest
import torch

import casspec
from casspec.cli import tune
from casspec.cli.main import main
from casspec.cli.tune import _calibrated_on
from casspec.storage import open_repository
from casspec.storage.errors import UnsupportedOption
from casspec.storage.schema import CascadeProfile
from casspec.tuner.calibration import method_tuning
from casspec.tuner.methods import by_decoding as run_tuning
from casspec.tuner.suites import load as suites
from tests.tuner.small_calibration import SETTINGS, SUITE, small_target
from tests.tuner.stored import stored_calibration

Run = Callable[..., tuple[int, str, str]]


def refuse(halving: run_tuning.Halving) -> NoReturn:
    raise UnsupportedOption("no kernel here")


METHODS = ["prompt-lookup", "layer-sparse"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, CascadeProfile]:
    database = str(tmp_path_factory.mktemp("tune") / "casspec.db")
    torch.set_num_threads(1)  # as many as the command is given; another test may have left more
    return database, stored_calibration(database)


@pytest.fixture
def run(finished, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `casspec tune` on the profile of the tiny calibration: (exit code, stdout, stderr)."""
    database, old = finished
    monkeypatch.setattr(casspec, "load_target", lambda *names, **options: small_target())
    monkeypatch.setattr(suites, "load_suite", lambda name: SUITE)
    monkeypatch.setattr(method_tuning, "mirror", lambda *arguments: None)  # MLflow has tests of its own

    def command(*words: str) -> tuple[int, str, str]:
        code = main(["tune", old.profile_id, "--storage", database, "--threads", "1", "--no-bench", *words])
        out, err = capsys.readouterr()
        return code, out, err

    return command


def test_an_interruption_keeps_what_is_done_and_the_same_command_ends_in_a_table(
    run: Run, finished, monkeypatch
) -> None:
    words = ("--methods", ",".join(METHODS), "--seconds-per-method", "1")
    race, raced = run_tuning.Halving.run, []

    def first_only(halving: run_tuning.Halving):
        if raced:
            raise KeyboardInterrupt
        raced.append(halving)
        return race(halving)

    monkeypatch.setattr(run_tuning.Halving, "run", first_only)
    code, out, err = run(*words)
    assert (code, out) == (130, "")
    assert "the same options goes on from there" in err
    monkeypatch.setattr(run_tuning.Halving, "run", lambda halving: raced.append(halving) or race(halving))
    code, out, err = run(*words)
    assert code == 0
    assert len(raced) == 2
    rows = [line.split() for line in out.splitlines()]
    assert [row[0] for row in rows if row[0] in METHODS] == METHODS

    database, old = finished
    with open_repository(database) as repository:
        new = repository.profile("latest")
        _, stored = repository.calibration_of(new.content_hash())
    assert new.profile_id != old.profile_id
    assert f"profile   {new.profile_id}" in err
    assert {entry.method for entry in new.methods} == {"dytc", *METHODS}

    assert _calibrated_on(stored) == (SUITE, SETTINGS)  # so it can be searched on from like any other


def test_a_method_that_cannot_run_is_one_line(run: Run, monkeypatch) -> None:
    monkeypatch.setattr(run_tuning.Halving, "run", refuse)
    code, out, err = run("--methods", "token-recycling", "--seconds-per-method", "1")
    assert (code, out) == (0, "")
    assert "token-recycling is not tuned: no kernel here" in err.splitlines()


def test_latencies_of_another_number_of_threads_are_not_taken_over(finished, monkeypatch, capsys, run: Run) -> None:
    database, old = finished
    monkeypatch.setattr(tune, "available_cores", lambda: 4)
    asked = ["tune", old.profile_id, "--storage", database, "--no-bench", "--methods", "prompt-lookup"]
    assert main([*asked, "--seconds-per-method", "1", "--threads", str(old.device.threads + 1)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert f"take --threads {old.device.threads}" in err
    assert len(err.splitlines()) == 1
    assert main([*asked, "--seconds-per-method", "1.5"]) == 0, "by default as many as it was calibrated with"
    with open_repository(database) as repository:
        assert repository.profile("latest").device == old.device


def test_latencies_of_other_forwards_are_not_taken_over(run: Run, monkeypatch) -> None:
    """The model is loaded with the forwards of the profile, whether they are named or not; others are refused before."""
    loaded: list[object] = []

    def load(*names: str, **options: object):
        loaded.append(options["compiles"])
        return small_target()

    monkeypatch.setattr(casspec, "load_target", load)
    monkeypatch.setattr(run_tuning.Halving, "run", refuse)
    words = ("--methods", "token-recycling", "--seconds-per-method", "1")
    code, out, err = run(*words, "--no-compile")
    assert (code, out, loaded) == (2, "", [])
    assert "was calibrated with compiled forwards: leave --no-compile out" in err
    assert len(err.splitlines()) == 1
    assert (run(*words)[0], run(*words, "--compile")[0]) == (0, 0)
    assert loaded == [True, True]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--methods", "autoregressive"), "'autoregressive' has nothing to tune"),
        (("--methods", "all", "--trials", "3"), "leave them out with --methods"),
        (("--seconds-per-method", "3"), "name them with --methods"),
    ],
)
def test_mistakes_are_told_in_one_line(run: Run, words: tuple[str, ...], message: str) -> None:
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1
