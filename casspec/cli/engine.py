"""`casspec engine`: other engines that serve a model, measured and tuned as they run here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from casspec.cli.console import print_table, say
from casspec.cli.engine_options import concurrency_option, key_option
from casspec.cli.engine_tune import tune
from casspec.cli.options import format_option, storage_option

if TYPE_CHECKING:
    from casspec.tuner.engines.bench import Turn


@click.group(name="engine")
def command() -> None:
    """Tune how another engine speculates, and compare endpoints."""


command.add_command(tune)


@command.command()
@click.argument("urls", metavar="URL[,URL2]")
@click.option(
    "--suite",
    "suite_name",
    default="chat",
    show_default=True,
    metavar="SUITE|FILE",
    help="`chat`, `reference`, a file of prompts, of which the reporting half is asked; or requests that `casspec serve` recorded, "
    "asked at the pace they came.",
)
@concurrency_option("1,4", "Requests at a time; of recorded ones the most at a time.")
@click.option(
    "--rounds", type=click.IntRange(min=1), default=3, show_default=True, metavar="N", help="Turns of each endpoint."
)
@click.option(
    "--prompts",
    type=click.IntRange(min=1),
    metavar="N",
    help="Prompts of a turn.  [default: 4, or the requests at a time]",
)
@click.option(
    "--tokens", type=click.IntRange(min=2), default=128, show_default=True, metavar="N", help="Most new ones of each."
)
@click.option(
    "--temperature", type=click.FloatRange(min=0), default=0.0, show_default=True, help="Of sampling; 0 is greedy."
)
@click.option(
    "--speed",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="Pace of recorded requests.",
)
@key_option
@format_option("table", "json")
def bench(
    urls: str,
    suite_name: str,
    concurrency: tuple[int, ...],
    rounds: int,
    prompts: int | None,
    tokens: int,
    temperature: float,
    speed: float,
    key: str | None,
    output_format: str,
) -> None:
    """Ask the endpoints at URL and URL2 the same requests in turns, and print what each took.

    An endpoint is whatever speaks OpenAI's HTTP interface. Acceptance is by its own counters, where its /metrics tells them.
    """
    from casspec.tuner.engines.bench import Contender, bench, warm_up
    from casspec.tuner.engines.traffic import is_traffic

    places = [url.strip() for url in urls.split(",") if url.strip()]
    if not 1 <= len(places) <= 2:
        raise click.UsageError("expected one URL, or two with a comma between")
    contenders = [Contender.at(url, key) for url in places]
    for each in contenders:
        if each.counters is None:
            say(f"{each.endpoint.url} tells no counters of speculation that are known: its acceptance is not shown")
    path = Path(suite_name).expanduser()
    if is_traffic(path):
        turns = _recorded_turns(path, max(concurrency), rounds, speed, prompts)
        warming = turns[0]
    else:
        *turns, warming = _suite_turns(suite_name, concurrency, rounds, prompts, tokens, temperature)
    warm_up(contenders, warming.requests)
    rows = bench(contenders, turns, say)
    _print(rows, output_format)


@command.command(name="list")
@click.option("--engine", metavar="NAME", help="Only of this engine.")
@format_option("table", "json")
@storage_option
def list_(engine: str | None, output_format: str, storage: str | None) -> None:
    """List what engines were measured at, the latest first."""
    from casspec.cli.engine_tables import results_json, results_table
    from casspec.storage import open_repository

    with open_repository(storage) as repository:
        results = repository.engines.results(engine)
    if output_format == "json":
        click.echo(results_json(results))
    else:
        print_table(results_table(results))


@command.command()
@click.argument("result", metavar="ID", default="latest")
@format_option("table", "json")
@storage_option
def show(result: str, output_format: str, storage: str | None) -> None:
    """Show result ID (or a unique beginning of it, or "latest"): what was best, and the configuration."""
    from casspec.cli.engine_tables import print_result
    from casspec.storage import open_repository

    with open_repository(storage) as repository:
        print_result(repository.engines.result(result), output_format)


def _suite_turns(
    suite_name: str, concurrency: tuple[int, ...], rounds: int, prompts: int | None, tokens: int, temperature: float
) -> list[Turn]:
    """Prompts of the reporting half, and last one to warm up with; none is asked twice while there are others.

    An endpoint may draft from earlier answers, so whoever warmed up with a prompt would find its answer.
    """
    from itertools import cycle, islice

    from casspec.tuner.engines.asked import conversation
    from casspec.tuner.engines.bench import Turn
    from casspec.tuner.engines.endpoint import Asked
    from casspec.tuner.suites.load import load_suite
    from casspec.tuner.suites.prompts import Prompt, reporting_half, spread_over_tasks

    half = reporting_half(load_suite(suite_name))
    sizes = [max(prompts or 4, each) for _ in range(rounds) for each in concurrency]
    if sum(sizes) >= len(half):
        say(f"suite '{suite_name}' has {len(half)} prompts, {sum(sizes)} are asked: some come again, and may be cached")
    left = cycle(_in_turns(spread_over_tasks(half, None)))

    def turn(place: int, chosen: list[Prompt]) -> Turn:
        def requests(model: str) -> list[Asked]:
            return [conversation(model, prompt, tokens, temperature, seed) for seed, prompt in enumerate(chosen)]

        return Turn(place, requests)

    return [
        turn(place, list(islice(left, size)))
        for place, size in zip([*list(concurrency) * rounds, 1], [*sizes, 1], strict=True)
    ]


def _in_turns(prompts: Any) -> Any:
    """Tasks in turn."""
    from itertools import chain, zip_longest

    by_task: dict[str, list[Any]] = {}
    for prompt in prompts:
        by_task.setdefault(prompt.task, []).append(prompt)
    return [each for each in chain.from_iterable(zip_longest(*by_task.values())) if each is not None]


def _recorded_turns(path: Path, most: int, rounds: int, speed: float, requests: int | None) -> list[Turn]:
    from casspec.tuner.engines.bench import Turn
    from casspec.tuner.engines.traffic import recorded_requests

    found = recorded_requests(path, "", speed, requests)
    say(f"{len(found)} recorded requests over {found[-1].after_s or 0:.0f} s, {most} at a time at most")
    return [Turn(most, lambda model: recorded_requests(path, model, speed, requests)) for _ in range(rounds)]


def _print(rows: Any, output_format: str) -> None:
    from casspec.cli.engine_tables import bench_json, bench_table

    if output_format == "json":
        click.echo(bench_json(rows))
        return
    print_table(bench_table(rows))
    for row in rows:
        if row.failure is not None:
            say(f"{row.url}: {row.failed} of {row.requests} requests failed, the first: {row.failure}")
