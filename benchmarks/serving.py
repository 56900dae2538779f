"""`casspec serve` under load, with speculation and without, beside vLLM's server: throughput and latencies by number of clients.

    python -m benchmarks.serving
    python -m benchmarks.serving --model DIRECTORY --servers casspec,casspec-off --modes greedy

Starts every server on a free port of this machine, warms all up, and asks the same conversations of one after another, round by
round. vLLM is installed at the first run (`benchmarks/peers/environments.py`). The last line of stdout is one JSON document.
"""

from __future__ import annotations

import os
import platform
import random
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from benchmarks.load.asked import OTHER_NUMBER, Turn, fitting, turns
from benchmarks.load.field import Field, names_in_order
from benchmarks.load.figures import figures
from benchmarks.load.guidellm import Check, check
from benchmarks.load.report import LEGEND, Entrant, Report
from benchmarks.load.servers import CONTENDERS, Contender, ServerFailed, Setup
from benchmarks.peers.__main__ import resolve, until_interrupted
from casspec.cli.options import available_cores
from casspec.runtime.text.chat import has_chat_template
from casspec.storage.errors import CasspecError, UnknownModel
from casspec.storage.folders import user_cache_directory
from casspec.storage.schema import Mode
from casspec.tuner.environment import source_commit, without_passwords
from casspec.tuner.suites.prompts import Prompt

MODES: tuple[Mode, ...] = ("sample", "greedy")


def chosen(ctx: click.Context, param: click.Parameter, value: str) -> list[Contender]:
    """The servers of a list of names."""
    names = value.split(",")
    unknown = [name for name in names if name not in CONTENDERS]
    if unknown:
        raise click.BadParameter(f"no server {unknown[0]!r}; expected some of {','.join(CONTENDERS)}")
    return [CONTENDERS[name] for name in names]


def chosen_modes(ctx: click.Context, param: click.Parameter, value: str) -> list[Mode]:
    """The modes of a list of names."""
    found = [mode for mode in MODES if mode in value.split(",")]
    if len(found) != len(set(value.split(","))):
        raise click.BadParameter(f"expected some of {','.join(MODES)}")
    return found


def chosen_loads(ctx: click.Context, param: click.Parameter, value: str) -> dict[int, int]:
    """Requests of a round by number of clients: `1:8,4:16`."""
    try:
        found = {int(clients): int(requests) for clients, requests in (each.split(":") for each in value.split(","))}
    except ValueError:
        raise click.BadParameter("expected CLIENTS:REQUESTS,..., for instance 1:8,4:16") from None
    if any(not 1 <= clients <= requests for clients, requests in found.items()):
        raise click.BadParameter("every client needs a request: CLIENTS is at least 1 and REQUESTS at least CLIENTS")
    return found


def asked_of(directory: Path, suite: str, n_tokens: int) -> tuple[tuple[Prompt, ...], int]:
    """Prompts of the suite's reporting half that fit the model, and the context they need. Raises SuiteError and UnknownModel."""
    from transformers import AutoConfig, AutoTokenizer

    from casspec.tuner.suites.load import load_suite
    from casspec.tuner.suites.prompts import reporting_half

    tokenizer = AutoTokenizer.from_pretrained(directory)
    if not has_chat_template(tokenizer):
        raise UnknownModel(f"--model {directory} has no chat template: servers are asked for conversations")
    most = AutoConfig.from_pretrained(directory).max_position_embeddings
    return fitting(reporting_half(load_suite(suite)), tokenizer, n_tokens, most)


def about(module: str, setup: Setup, options: dict[str, Any]) -> dict[str, Any]:
    """What the figures of `module` depend on, as JSON values."""
    from casspec.runtime.loading.device import device_fingerprint

    return {
        "device": device_fingerprint("cpu").name,
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "threads": len(setup.cores),
        "dtype": setup.dtype,
        "context": setup.context,
        "date": datetime.now(UTC).date().isoformat(),
        "commit": source_commit(Path(__file__)),
        "command_line": shlex.join(["python", "-m", module, *map(without_passwords, sys.argv[1:])]),
        **options,
    }


def checked(field: Field, command: Path, asked: Iterable[Turn]) -> Iterator[Check]:
    """What guidellm says of every server. One that it cannot ask is named among the lost."""
    for turn in asked:
        for name, server in field.servers.items() if turn.round else ():
            print(f"guidellm: {name}, {turn.mode}, {turn.clients} clients", file=sys.stderr, flush=True)
            try:
                yield check(command, name, server, turn, field.setup.model)
            except ServerFailed as error:
                field.lost[f"{name} under guidellm"] = str(error)


@click.command()
@click.option("--model", default="smollm2", show_default=True, help="A name casspec knows, or a model's directory.")
@click.option("--servers", default=",".join(CONTENDERS), show_default=True, callback=chosen)
@click.option("--modes", default=",".join(MODES), show_default=True, callback=chosen_modes, help="sample is T = .7.")
@click.option(
    "--loads",
    default="1:8,4:16,16:32",
    show_default=True,
    callback=chosen_loads,
    help="CLIENTS:REQUESTS of a round, for each number of clients.",
)
@click.option("--tokens", type=click.IntRange(min=2), default=64, show_default=True, help="New ones of each request.")
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--suite", default="chat", show_default=True, help="A suite of casspec's, or a file that it reads.")
@click.option("--seed", default=0, show_default=True, help="Of the order of prompts and servers.")
@click.option("--threads", type=click.IntRange(min=1), help="Of each server; by default all cores available.")
@click.option("--dtype", type=click.Choice(["bfloat16", "float32"]), default="bfloat16", show_default=True)
@click.option("--profile", help="Of casspec: an ID, an alias or a file; by default the latest that fits.")
@click.option("--storage", envvar="CASSPEC_STORAGE", help="Database of profiles.")
@click.option("--environments", type=click.Path(file_okay=False, path_type=Path), help="Where vLLM is installed.")
@click.option("--install", is_flag=True, help="Try installations that failed before once more.")
@click.option(
    "--guidellm",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Its command: asks all servers once more, by that load generator.",
)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Also write a Markdown document.")
def main(
    model: str,
    servers: Sequence[Contender],
    modes: Sequence[Mode],
    loads: dict[int, int],
    tokens: int,
    rounds: int,
    suite: str,
    seed: int,
    threads: int | None,
    dtype: str,
    profile: str | None,
    storage: str | None,
    environments: Path | None,
    install: bool,
    guidellm: Path | None,
    output: Path | None,
) -> None:
    """Measure all servers under the same load and print the tables."""
    folder = user_cache_directory() / "peers"
    try:
        directory = resolve(model, None, folder / "files").directory
        prompts, context = asked_of(directory, suite, tokens)
    except CasspecError as error:
        raise click.ClickException(str(error)) from None
    cores = sorted(os.sched_getaffinity(0))[: min(threads or available_cores(), available_cores())]
    setup = Setup(directory, context, tuple(cores), dtype, profile, storage)
    options = {"model": model, "suite": suite, "prompts": len(prompts), "tokens": tokens, "rounds": rounds}
    described = about("benchmarks.serving", setup, {**options, "loads": loads, "seed": seed})
    checks: list[Check] = []
    with Field(folder, environments or folder / "environments", setup) as field:

        def work() -> None:
            field.start(servers, install)
            field.run(turns(prompts, modes, loads, rounds, tokens, seed), random.Random(seed))
            if guidellm:
                checks.extend(checked(field, guidellm, turns(prompts, modes[:1], loads, 1, tokens, seed, OTHER_NUMBER)))

        interrupted = until_interrupted(work)
        usages = field.usages()
    names = names_in_order(servers, field.measurements)
    entrants = {name: Entrant(field.load_seconds[name], usages[name].peak_bytes) for name in names if name in usages}
    found = figures(field.measurements, names, tokens)
    report = Report(found, entrants, field.lost, described, checks, interrupted)
    print(report.tables(), *LEGEND, *report.remarks(), sep="\n")
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(report.document(), encoding="utf-8")
    print(report.json())
    sys.exit(130 if interrupted else 0 if found else 2)


if __name__ == "__main__":
    main()
