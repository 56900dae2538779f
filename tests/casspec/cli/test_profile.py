"""`casspec profile`, run as a user runs it on a tiny model."""

from __future__ import annotations

from pathlib import Path

import pytest

import casspec
from casspec.cli.main import main
from casspec.profiler import measure, precisions, profile, stored
from casspec.profiler.design import design
from casspec.profiler.refinement import REFINING_POINTS
from tests.profiler.fakes import tiny_target
from tests.profiler.whole_profile import CEILINGS, ROOMY


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    target = tiny_target()
    monkeypatch.setitem(vars(casspec), "load_target", lambda name, **where: target)
    monkeypatch.setattr(stored, "measure_ceilings", lambda device: CEILINGS)
    monkeypatch.setattr(measure, "MIN_ROUNDS", 1)
    monkeypatch.setattr(measure, "MAX_ROUNDS", 1)
    return ["profile", "tiny", "--threads", "1", "--storage", str(tmp_path / "casspec.db")]


def test_a_dry_run_tells_the_plan_and_stores_nothing(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "forward" in printed
    assert "about 22 s" in printed
    assert not (tmp_path / "casspec.db").exists()


def test_the_command_stores_a_profile_and_prints_its_errors(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(arguments) == 0
    first = capsys.readouterr().out
    for told in ("held-out cells, 90th percentile", "plans left out", "measured-table", "slowdown of the machine"):
        assert told in first
    assert "test-retest" in first
    monkeypatch.setattr(stored, "profile_latency", lambda *_, **__: pytest.fail("measured again"))
    assert main(arguments) == 0
    assert capsys.readouterr().out == first


def test_an_interruption_says_how_much_is_stored(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(profile, "repeatability", interrupted)
    assert main(arguments) == 130
    assert f"{len(design(tiny_target()).points) + REFINING_POINTS} points are stored" in capsys.readouterr().err


@pytest.mark.usefixtures("generous")
def test_the_command_says_what_each_precision_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("casspec.load_target", lambda *_, **__: tiny_target(**ROOMY))
    monkeypatch.setattr(stored, "measure_ceilings", lambda _: CEILINGS)
    monkeypatch.setenv("COLUMNS", "160")
    words = ["profile", "reference", "--threads", "1", "--budget", "1", "--storage", str(tmp_path / "p.db")]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "int8-dynamic is not offered: no kernel here" in out
    (row,) = [line for line in out.splitlines() if "int4-weight" in line]
    assert "yes" in row
    assert row.count(".") >= len(precisions.QUERY_TOKENS)
