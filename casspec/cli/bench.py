"""`casspec bench`: decoding methods side by side on the reporting half of a suite."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from casspec.cli.console import output, progress, say
from casspec.cli.options import format_option, model_argument, run_options, seed_option, set_up, storage_option

if TYPE_CHECKING:
    from casspec.runtime.loader import LoadedProfile
    from casspec.runtime.target import TargetModel
    from casspec.storage.schema import BenchReport, Mode
    from casspec.tuner.entries import Entry
    from casspec.tuner.lossless_check import LosslessRow
    from casspec.tuner.prompts import Prompt

EXIT_NOT_LOSSLESS = 1


@click.command(name="bench")
@model_argument
@click.option(
    "--profile",
    "selection",
    metavar="ID|latest|PATH",
    help="Stored profile or its JSON file; by default the latest made for this model, dtype and device, else built-in "
    "priors.",
)
@click.option("--methods", default="all", show_default=True, metavar="A,B", help="Methods to compare.")
@click.option(
    "--suite", default="reference", show_default=True, metavar="NAME|PATH", help="Prompts: its reporting half is used."
)
@click.option("--mode", type=click.Choice(["sample", "greedy", "both"]), default="both", show_default=True)
@run_options
@click.option("--max-new-tokens", type=click.IntRange(min=1), default=128, show_default=True, metavar="N")
@click.option("--prompts", "n_prompts", type=click.IntRange(min=1), metavar="N", help="Only N prompts of all tasks.")
@click.option("--repeats", type=click.IntRange(min=1), default=1, show_default=True, metavar="N")
@click.option("--warm", is_flag=True, help="Drafters keep what they learn from the prompts before.")
@click.option("--peers/--no-peers", default=True, show_default=True, help="Also time transformers' own generate().")
@click.option("--check-lossless", is_flag=True, help="Compare texts instead of times, in float32.")
@click.option(
    "--tokens",
    type=click.IntRange(min=1),
    default=20_000,
    show_default=True,
    metavar="N",
    help="Tokens a method and mode to compare with --check-lossless.",
)
@format_option("table", "json", "csv", "markdown")
@seed_option
@storage_option
def command(
    model: str,
    selection: str | None,
    methods: str,
    suite: str,
    mode: str,
    device: str,
    dtype: str,
    threads: int | None,
    max_new_tokens: int,
    n_prompts: int | None,
    repeats: int,
    warm: bool,
    peers: bool,
    check_lossless: bool,
    tokens: int,
    output_format: str,
    seed: int,
    storage: str | None,
) -> int:
    """Compare decoding methods on MODEL side by side: speed, or with --check-lossless equality of texts.

    MODEL is a local directory, a name on the model hub, or `reference` (the default). The report is stored, and the
    last line of stdout is one JSON document.
    """
    set_up(device, threads)
    if check_lossless and dtype not in ("auto", "float32"):
        raise click.UsageError("--check-lossless compares in float32: leave --dtype out")

    import casspec
    from casspec.tuner.entries import method_entries, peer_entries
    from casspec.tuner.requests import spread_over_tasks
    from casspec.tuner.suites import load_suite

    loaded_suite = load_suite(suite)
    prompts = spread_over_tasks(loaded_suite.half("reporting"), n_prompts)
    target = casspec.load_target(model, device=device, dtype="float32" if check_lossless else dtype)
    profile = _profile(target, selection, storage, any_dtype=check_lossless)
    entries = method_entries(target, profile, None if methods == "all" else _names(methods))
    modes: tuple[Mode, ...] = ("sample", "greedy") if mode == "both" else (mode,)  # type: ignore[assignment]
    settings = {
        "suite": loaded_suite.name,
        "suite_sha256": loaded_suite.content_hash(),
        "profile": profile.document.profile_id if profile and profile.document else None,
    }
    if check_lossless:
        return _check(target, prompts, entries, tokens, modes, seed, settings, output_format)

    from casspec.tuner.benchmark import run_benchmark

    contestants = [*entries, *(peer_entries(target) if peers and "greedy" in modes else ())]
    with progress() as run, run.stage("bench") as bar:
        report = run_benchmark(
            target, prompts, contestants, modes, max_new_tokens, repeats, seed, warm, bar.update, settings
        )
    _print_report(report, output_format)
    _save(report, settings["profile"], storage)
    return 0


def _names(methods: str) -> list[str]:
    return [name.strip() for name in methods.split(",") if name.strip()]


def _profile(target: TargetModel, selection: str | None, storage: str | None, any_dtype: bool) -> LoadedProfile | None:
    """The selected profile, else the latest that fits, else None. `any_dtype` takes one made for another precision:
    what it says about speed is then off, the texts must be equal all the same."""
    from casspec.profile_lookup import fitting_profile, load_profile
    from casspec.storage.errors import ProfileMismatch, ProfileNotFound

    try:
        found = load_profile(selection, storage) if selection else fitting_profile(target, storage)
    except ProfileNotFound:
        if selection:
            raise
        if not any_dtype:
            say("no stored profile fits: every method runs on built-in priors")
            return None
        try:
            found = load_profile("latest", storage)
        except ProfileNotFound:
            return None
    if not any_dtype or found.document is None:
        return found

    from casspec.runtime.loader import LoadedProfile, check_profile

    dtype = str(target.dtype).removeprefix("torch.")
    moved = found.document.model_copy(update={"dtype": dtype})
    try:
        check_profile(moved, target)
    except ProfileMismatch:
        if selection:
            raise
        return None
    return LoadedProfile(moved, found.recycling_matrix)


def _print_report(report: BenchReport, output_format: str) -> None:
    from casspec.tuner.report import bench_csv, bench_json, bench_markdown, bench_table, divergence_line, noise_line

    if output_format == "table":
        output.print(bench_table(report))
    elif output_format == "csv":
        click.echo(bench_csv(report))
    elif output_format == "markdown":
        click.echo(bench_markdown(report))
    say(noise_line(report))
    if line := divergence_line(report):
        say(line)
    click.echo(bench_json(report))


def _save(report: BenchReport, profile_id: str | None, storage: str | None) -> None:
    """Stores the report beside its profile, alone when the profile came from a file."""
    from casspec.storage import open_repository
    from casspec.storage.errors import ProfileNotFound

    with open_repository(storage) as repository:
        try:
            repository.save_bench(profile_id, report)
        except ProfileNotFound:
            repository.save_bench(None, report)


def _check(
    target: TargetModel,
    prompts: list[Prompt],
    entries: list[Entry],
    n_tokens: int,
    modes: tuple[Mode, ...],
    seed: int,
    settings: dict[str, Any],
    output_format: str,
) -> int:
    from casspec.tuner.environment import environment
    from casspec.tuner.lossless_check import check_lossless
    from casspec.tuner.requests import token_prompts

    with progress() as run, run.stage("lossless") as bar:
        rows = check_lossless(target, token_prompts(target, prompts), entries, n_tokens, modes, seed, bar.update)
    _print_verdicts(rows, environment(target) | settings | {"seed": seed, "tokens": n_tokens}, output_format)
    return 0 if all(row.lossless for row in rows) else EXIT_NOT_LOSSLESS


def _print_verdicts(rows: list[LosslessRow], environment: dict[str, Any], output_format: str) -> None:
    from casspec.tuner.report import lossless_csv, lossless_json, lossless_markdown, lossless_table

    if output_format == "table":
        output.print(lossless_table(rows))
    elif output_format == "csv":
        click.echo(lossless_csv(rows))
    elif output_format == "markdown":
        click.echo(lossless_markdown(rows))
    click.echo(lossless_json(rows, environment))
