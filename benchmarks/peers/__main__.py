"""casspec beside other engines on this machine, each in an environment of its own, in one table.

    python -m benchmarks.peers
    python -m benchmarks.peers --model DIRECTORY --gguf FILE --engines casspec,llama.cpp

The first run installs what is missing from the package index; llama.cpp may be compiled. Engines answer the same token ids
with the same number of threads and of new tokens, one at a time, in shuffled order. The last line of stdout is one JSON document.
"""

from __future__ import annotations

import os
import platform
import shlex
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from benchmarks.peers.engines import ENGINES, Engine, Row
from benchmarks.peers.figures import figures
from benchmarks.peers.files import ModelFiles
from benchmarks.peers.prompts import Question, context_for, questions
from benchmarks.peers.race import Race
from benchmarks.peers.report import LEGEND, Report
from benchmarks.peers.stage import Stage
from casspec.cli.options import available_cores
from casspec.storage.errors import CasspecError, UnknownModel
from casspec.storage.folders import user_cache_directory
from casspec.tuner.environment import source_commit, without_passwords

REFERENCE_ROW = "llama.cpp/bf16/plain"


def resolve(name: str, gguf: Path | None, made: Path) -> ModelFiles:
    """A name of casspec's or a directory. Raises UnknownModel, and what making a named model raises."""
    from casspec.model_names import directory_of
    from casspec.smollm2 import SMOLLM2, cached_gguf

    directory = directory_of(name) or Path(name).expanduser()
    if not (directory / "config.json").is_file():
        raise UnknownModel(f"--model {name}: peers read a directory with a config.json, or a name such as smollm2")
    if gguf is None and name == SMOLLM2:
        gguf = cached_gguf()
    return ModelFiles(name, directory.resolve(), gguf.resolve() if gguf else None, made)


def asked_of(files: ModelFiles, suite: str, count: int, tokens: int, with_long: bool) -> list[Question]:
    """Questions of the suite's reporting half under the model's tokenizer. Raises SuiteError."""
    from transformers import AutoConfig, AutoTokenizer

    from casspec.tuner.suites.load import load_suite

    tokenizer = AutoTokenizer.from_pretrained(files.directory)
    context = AutoConfig.from_pretrained(files.directory).max_position_embeddings
    return questions(load_suite(suite).half("reporting"), tokenizer, count, tokens, context, with_long)


def chosen_engines(ctx: click.Context, param: click.Parameter, value: str | None) -> list[Engine]:
    """The engines of a list of names; all without one."""
    names = value.split(",") if value else list(ENGINES)
    unknown = [name for name in names if name not in ENGINES]
    if unknown:
        raise click.BadParameter(f"no engine {unknown[0]!r}; expected some of {','.join(ENGINES)}")
    return [ENGINES[name] for name in names]


def reference_row(race: Race, name: str) -> Row | None:
    """The row that was asked for, or the first of those that answered."""
    answered = {each.row for each in race.measurements}
    rows = [row for engine in ENGINES.values() for row in engine.rows if row in answered]
    return next((row for row in rows if row.name == name), rows[0] if rows else None)


def about(files: ModelFiles, asked: list[Question], options: dict[str, Any]) -> dict[str, Any]:
    """What the figures depend on, as JSON values."""
    from casspec.runtime.loading.device import device_fingerprint

    words = ["python", "-m", "benchmarks.peers", *map(without_passwords, sys.argv[1:])]
    return {
        "model": files.name,
        "device": device_fingerprint("cpu").name,
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "prompts": len({each.id for each in asked if each.kind != "long"}),
        "date": datetime.now(UTC).date().isoformat(),
        "commit": source_commit(Path(__file__)),
        "command_line": shlex.join(words),
        **options,
    }


def until_interrupted(work: Callable[[], None]) -> bool:
    """Whether Ctrl-C or SIGTERM ended the work."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        work()
    except KeyboardInterrupt:
        return True
    return False


@click.command()
@click.option("--model", default="smollm2", show_default=True, help="A name casspec knows, or a model's directory.")
@click.option("--gguf", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="The same model as GGUF.")
@click.option("--suite", default="chat", show_default=True, help="A suite of casspec's, or a Spec-Bench file.")
@click.option("--prompts", "count", type=click.IntRange(min=1), default=6, show_default=True)
@click.option("--tokens", type=click.IntRange(min=2), default=128, show_default=True, help="New ones for each prompt.")
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--threads", type=click.IntRange(min=1), help="By default all cores available.")
@click.option("--engines", callback=chosen_engines, help=f"Some of {','.join(ENGINES)}; all by default.")
@click.option("--long-prompt", is_flag=True, help="Also the time to the first token after about 1,000.")
@click.option("--profile", help="Of casspec: an ID, an alias or a file; by default the latest that fits.")
@click.option("--storage", envvar="CASSPEC_STORAGE", help="Database of profiles.")
@click.option("--relative-to", default=REFERENCE_ROW, show_default=True, help="ENGINE/PRECISION/METHOD.")
@click.option("--environments", type=click.Path(file_okay=False, path_type=Path), help="Where peers are installed.")
@click.option("--install", is_flag=True, help="Try installations that failed before once more.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Also write a Markdown document.")
def main(
    model: str,
    gguf: Path | None,
    suite: str,
    count: int,
    tokens: int,
    rounds: int,
    threads: int | None,
    engines: list[Engine],
    long_prompt: bool,
    profile: str | None,
    storage: str | None,
    relative_to: str,
    environments: Path | None,
    install: bool,
    output: Path | None,
) -> None:
    """Measure casspec and its peers side by side and print the table."""
    folder = user_cache_directory() / "peers"
    race = Race()
    try:
        files = resolve(model, gguf, folder / "files")
        asked = asked_of(files, suite, count, tokens, long_prompt)
    except CasspecError as error:
        raise click.ClickException(str(error)) from None
    settings = {
        "threads": min(threads or available_cores(), available_cores()),
        "cores": sorted(os.sched_getaffinity(0)),
        "context": context_for(asked),
        "profile": profile,
        "storage": storage,
    }
    options = {"threads": settings["threads"], "suite": suite, "tokens": tokens, "rounds": rounds}
    described = about(files, asked, options)
    with Stage(files, folder, environments or folder / "environments", race, settings) as stage:

        def work() -> None:
            for row, (place, file) in stage.prepare(engines, install).items():
                print(f"loading {row.name}", file=sys.stderr, flush=True)
                stage.start(row, place, file, asked)
            race.run(stage.workers, asked, rounds)

        interrupted = until_interrupted(work)
        stage.observe()
    reference = reference_row(race, relative_to)
    report = Report(
        figures(race.measurements, reference) if reference else [],
        stage.entrants,
        race.lost,
        reference,
        files.precision_of(ENGINES["llama.cpp"].rows[0]),
        described,
        interrupted,
    )
    show(report, output)
    sys.exit(130 if interrupted else 0 if report.figures else 2)


def show(report: Report, output: Path | None) -> None:
    """Prints table, legend, remarks and JSON; writes the document."""
    print(report.table(), *LEGEND, *report.remarks(), sep="\n")
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(report.document(), encoding="utf-8")
    print(report.json())


if __name__ == "__main__":
    main()
