"""The whole command on a processor, and how it ends when something is wrong."""

from __future__ import annotations

import errno
import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from benchmarks.gpu import run as run_module
from benchmarks.gpu.__main__ import main
from benchmarks.gpu.measured.batches import decode_batches
from benchmarks.gpu.measured.calibration import calibrate_quickly
from benchmarks.gpu.report import Report
from benchmarks.gpu.run import Bench

SMALL = ("--device", "cpu", "--width", "320", "--tokens", "4", "--prompts", "1", "--rounds", "1", "--threads", "1")

CHANGES = {
    "profile": {"seconds": 0.05, "rounds": 1, "max_context": 256, "max_batch": 1},
    "record": {"prompts": 2, "tokens": 4},
    "search": {"recordings": 1, "trials": 2},
    "cascade": {"probed_recordings": 1, "probed_steps": 2, "tuning_seconds": 0.1},
}


def run(*options: str) -> Result:
    return CliRunner().invoke(main, [*SMALL, "--no-tests", *options])


def states(found: dict[str, Any]) -> dict[str, str]:
    return {stage["name"]: stage["state"] for stage in found["stages"]}


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return tmp_path / "gpu.md"


@pytest.mark.slow
@pytest.mark.usefixtures("without_mlflow")
def test_a_rehearsal_runs_every_stage(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "calibrate_quickly", partial(calibrate_quickly, changes=CHANGES))
    monkeypatch.setattr(run_module, "decode_batches", partial(decode_batches, sizes=(1, 2)))
    monkeypatch.setattr(
        "torch._dynamo.config.disable", True
    )  # compiling for transformers takes a minute and is not ours
    result = run("--output", str(page))
    assert result.exit_code == 0, result.output
    last = result.stdout.splitlines()[-1]
    found = json.loads(last)
    assert set(states(found).values()) == {"done"}, result.output
    assert page.with_suffix(".json").read_text("utf-8") == last + "\n"
    assert {bar["bar"] for bar in found["bars"]} == {
        "plain decoding, share of the bandwidth bound",
        "dytc over plain decoding",
        "dytc, share of a step outside forwards",
    }
    assert "## Decoding with the profile" in page.read_text("utf-8")
    assert found["about"]["model"] == "testbed:320, 12 layers"


def test_a_stage_that_fails_is_one_line_and_the_exit_status(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access\nand what follows")

    monkeypatch.setattr(run_module, "wide_model", failing)
    result = run("--output", str(page))
    assert result.exit_code == 1
    found = json.loads(result.stdout.splitlines()[-1])
    assert (states(found)["ceilings"], states(found)["model"], states(found)["batches"]) == (
        "done",
        "failed",
        "skipped",
    )
    assert "* Failed in" in result.stdout
    assert "RuntimeError: CUDA error: an illegal memory access." in page.read_text("utf-8")
    assert "Traceback" not in result.stderr
    assert "what follows" not in page.read_text("utf-8")


def test_an_interruption_prints_what_there_is(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: Bench, work: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Bench, "make_model", interrupted)
    result = run("--output", str(page))
    assert result.exit_code == 130
    found = json.loads(result.stdout.splitlines()[-1])
    assert states(found)["ceilings"] == "done"
    assert states(found)["model"] == "interrupted"
    assert found["stages"][0]["rows"][0]["bandwidth_gb_per_s"] > 0
    assert "| bandwidth, GB/s |" in page.read_text("utf-8")


def test_a_budget_too_small_skips_and_says_so(page: Path) -> None:
    result = run("--output", str(page), "--minutes", "0.001")
    assert result.exit_code == 1
    found = json.loads(result.stdout.splitlines()[-1])
    assert set(states(found).values()) == {"skipped"}
    assert "it takes 3 s at least, 0 s are left" in page.read_text("utf-8")


def test_a_missing_device_is_one_line(monkeypatch: pytest.MonkeyPatch, page: Path) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = CliRunner().invoke(main, ["--output", str(page)])
    assert result.exit_code == 1
    assert result.output.startswith("Error: no CUDA device is available to torch; use --device cpu")
    assert len(result.output.splitlines()) == 1
    assert not page.exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--device", "gpu"), "unknown device 'gpu'"),
        (("--width", "256"), "no testbed is 256 wide"),
        (("--layers", "2"), "a testbed has 12 layers"),
        (("--tokens", "1"), "--tokens"),
        (("--minutes", "0"), "--minutes"),
    ],
)
def test_a_wrong_option_is_told(options: tuple[str, ...], words: str, page: Path) -> None:
    result = run(*options, "--output", str(page))
    assert result.exit_code != 0
    assert words in result.output
    assert "Traceback" not in result.output


def test_a_page_that_cannot_be_written_is_told_before_anything_is_measured(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = run("--output", str(tmp_path / "file" / "gpu.md"))
    assert result.exit_code == 1
    assert "cannot be written" in result.output
    assert "name another --output" in result.output
    assert len(result.output.splitlines()) == 1


def test_a_disk_that_is_full_later_costs_no_figure(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, written = Report.write, list[Report]()

    def full(report: Report) -> None:
        written.append(report)
        if len(written) > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(report)

    monkeypatch.setattr(Report, "write", full)
    monkeypatch.setattr(run_module, "wide_model", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    result = run("--output", str(page))
    assert result.exit_code == 130
    assert states(json.loads(result.stdout.splitlines()[-1]))["ceilings"] == "done"
    assert "could not be written: No space left on device" in result.stderr
