"""casspec on a GPU in eight minutes: tests, ceilings, decoding against the memory's bandwidth, batches, transformers, a calibration.

    make gpu
    python -m benchmarks.gpu --layers 32 --minutes 12
    python -m benchmarks.gpu --device cpu --width 320 --tokens 16 --minutes 3

What was found is written to the page and to the JSON beside it at once. The last line of stdout is the same JSON document.
"""

from __future__ import annotations

import platform
import shlex
import signal
import sys
import time
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import torch

from benchmarks.gpu.report import Report
from benchmarks.gpu.run import SUITE, Bench, stages_of
from benchmarks.gpu.stages import Stages
from benchmarks.gpu.wide_model import config_of
from casspec.cli.options import apply_threads
from casspec.runtime.loading.device import device_fingerprint
from casspec.runtime.loading.models import check_device
from casspec.storage.errors import CasspecError
from casspec.testbed import HIDDEN_OF_7B, PREFIX
from casspec.tuner.environment import LIBRARIES, source_commit

PAGE = Path("docs/results/gpu.md")
REHEARSAL = Path("build/gpu-rehearsal.md")

INTERRUPTED, FAILED = 130, 1


def about(bench: Bench, minutes: float) -> dict[str, Any]:
    """What the figures depend on, as JSON values."""
    device = device_fingerprint(bench.device)
    memory = f", {device.memory_class} GiB" if device.memory_class else f", {device.threads} threads"
    versions = {"Python": platform.python_version()} | {name: version(name) for name in LIBRARIES}
    if device.kind == "cuda":
        versions |= {"CUDA": str(torch.version.cuda)}
    words = ["python", "-m", "benchmarks.gpu", *sys.argv[1:]]
    return {
        "model": f"{PREFIX}{bench.config['hidden_size']}, {bench.config['num_hidden_layers']} layers",
        "device": f"{device.name}{memory}",
        "kind": device.kind,
        "capability": device.capability,
        "system": f"{platform.system()} {platform.release()}",
        "versions": versions,
        "suite": SUITE,
        "prompts": bench.n_prompts,
        "tokens": bench.n_tokens,
        "rounds": bench.rounds,
        "minutes": minutes,
        "date": datetime.now(UTC).date().isoformat(),
        "commit": source_commit(Path(__file__)),
        "command_line": shlex.join(words),
    }


def tell(line: str) -> None:
    """A line of progress."""
    print(line, file=sys.stderr, flush=True)


def keep(report: Report) -> None:
    """Writes what there is; a disk that is full costs the file, not the run."""
    try:
        report.write()
    except OSError as error:
        tell(f"{report.output} could not be written: {error.strerror}")


@click.command()
@click.option("--device", default="cuda", show_default=True, help="cuda, cuda:N, or cpu for a rehearsal.")
@click.option("--width", type=int, default=HIDDEN_OF_7B, show_default=True, help="Of the testbed.")
@click.option(
    "--layers", type=int, metavar="N", help="More than the testbed's own do nothing but read; a 7B model has 32."
)
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), default=8.0, show_default=True)
@click.option("--prompts", type=click.IntRange(min=1), default=4, show_default=True, help="Of each race.")
@click.option("--tokens", type=click.IntRange(min=2), default=128, show_default=True, help="New ones for each prompt.")
@click.option(
    "--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="Of each race, as far as time allows."
)
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads; by default all cores available.")
@click.option("--tests/--no-tests", default=True, show_default=True, help="Whether tests/gpu runs first.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help=f"The page; JSON is written beside it.  [default: {PAGE}, of a rehearsal {REHEARSAL}]",
)
@click.pass_obj
def main(
    imports_s: float | None,
    device: str,
    width: int,
    layers: int | None,
    minutes: float,
    prompts: int,
    tokens: int,
    rounds: int,
    threads: int | None,
    tests: bool,
    output: Path | None,
) -> None:
    """Measure casspec on a GPU and print the tables."""
    begin = time.monotonic() - (imports_s or 0.0)
    try:
        check_device(device)
        bench = Bench(device, config_of(width, layers), prompts, tokens, rounds)
    except CasspecError as error:
        raise click.ClickException(str(error)) from None
    apply_threads(threads)
    report = Report(about(bench, minutes), output or (REHEARSAL if device.startswith("cpu") else PAGE))
    stages = Stages(stages_of(bench, tests), 60 * minutes - (time.monotonic() - begin), partial(keep, report), tell)
    report.outcomes = stages.outcomes
    try:
        report.write()
    except OSError as error:
        raise click.ClickException(
            f"{report.output} cannot be written: {error.strerror}; name another --output"
        ) from None
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    is_whole = stages.run()
    print(*report.held_bars(), report.tables(), sep="\n")
    print(report.json())
    sys.exit(INTERRUPTED if not is_whole else 0 if stages.succeeded else FAILED)


if __name__ == "__main__":
    main(obj=time.process_time())  # importing torch and transformers is of the run's time
