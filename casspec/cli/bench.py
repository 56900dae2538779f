"""`casspec bench`: decoding methods side by side on the reporting half of a suite."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from casspec.cli.console import output, say, show_stages
from casspec.cli.main import EXIT_INTERRUPTED
from casspec.cli.options import (
    chosen_suite,
    figures_option,
    format_option,
    model_argument,
    run_options,
    seed_option,
    set_up,
    storage_option,
    suite_options,
)

if TYPE_CHECKING:
    from casspec.runtime.loading.profiles import LoadedProfile
    from casspec.runtime.model.target import BackendChoice, TargetModel
    from casspec.storage.schema import BenchReport, Mode
    from casspec.tuner.bench.entries import Entry
    from casspec.tuner.bench.lossless.check import LosslessRow
    from casspec.tuner.settings import Long, Turns
    from casspec.tuner.suites.prompts import Prompt

EXIT_NOT_LOSSLESS = 1


@click.command(name="bench")
@model_argument
@click.option("--target", metavar="MODEL", help="The model by an option instead of the argument.")
@click.option(
    "--profile",
    "selection",
    metavar="ID|ALIAS|latest|PATH",
    help="Stored profile or its JSON file; by default the latest made for this model, dtype and device, else built-in "
    "priors.",
)
@click.option("--methods", default="all", show_default=True, metavar="all|A,B", help="Methods to compare.")
@suite_options("its reporting half is used", turns="all")
@click.option("--mode", type=click.Choice(["sample", "greedy", "both"]), default="both", show_default=True)
@run_options
@click.option("--max-new-tokens", type=click.IntRange(min=1), default=128, show_default=True, metavar="N")
@click.option("--prompts", "n_prompts", type=click.IntRange(min=1), metavar="N", help="Only N prompts of all tasks.")
@click.option("--repeats", type=click.IntRange(min=1), default=1, show_default=True, metavar="N")
@click.option("--warm", is_flag=True, help="Drafters keep what they learn from the prompts before.")
@click.option("--peers/--no-peers", default=True, show_default=True, help="Also time transformers' own generate().")
@click.option("--ablation", is_flag=True, help="Add dytc without each of its answers, and with retrieval alone.")
@click.option(
    "--check-lossless", is_flag=True, help="Compare texts instead of times, in float32 unless --dtype says otherwise."
)
@click.option(
    "--tokens",
    type=click.IntRange(min=1),
    default=20_000,
    show_default=True,
    metavar="N",
    help="Tokens a method and mode to compare with --check-lossless.",
)
@click.option(
    "--batch",
    "batches",
    metavar="1,2,4",
    help="Race methods with so many texts at a time instead: tokens/s over plain decoding of the same batch.",
)
@figures_option("speedup by task, and where the time of a token goes")
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Also write the JSON."
)
@format_option("table", "json", "csv", "markdown")
@seed_option
@storage_option
def command(
    model: str,
    target: str | None,
    selection: str | None,
    methods: str,
    suite_name: str | None,
    turns: Turns | None,
    long: Long | None,
    strict: bool,
    mode: str,
    device: str,
    dtype: str,
    backend: BackendChoice,
    compiles: bool,
    threads: int | None,
    max_new_tokens: int,
    n_prompts: int | None,
    repeats: int,
    warm: bool,
    peers: bool,
    ablation: bool,
    check_lossless: bool,
    tokens: int,
    batches: str | None,
    figures: Path | None,
    json_file: Path | None,
    output_format: str,
    seed: int,
    storage: str | None,
) -> int:
    """Compare decoding methods on MODEL side by side: speed, or with --check-lossless equality of texts.

    MODEL is a local directory, a GGUF file, a name on the model hub, `reference` (the default), `testbed:N`, `smollm2`
    or `smollm2-dithered`. The report is stored and mirrored to MLflow, and the last line of stdout is one JSON
    document. Ctrl-C keeps the prompts that every method has finished.
    """
    name = _model_name(model, target)
    if check_lossless and figures:
        raise click.UsageError("--figures draws times, --check-lossless takes none: leave one out")
    if check_lossless and turns == "all":
        raise click.UsageError("--check-lossless compares first turns: leave --turns out")
    sizes = _sizes(batches)
    if sizes and (check_lossless or ablation or figures or warm):
        raise click.UsageError(
            "--batch races methods by tokens/s: leave out --check-lossless, --ablation, --figures and --warm"
        )
    set_up(device, threads)
    for directory in (figures, json_file.parent if json_file else None):
        if directory:
            directory.mkdir(parents=True, exist_ok=True)

    import casspec
    from casspec.runtime.text.chat import has_chat_template
    from casspec.tuner.bench.entries import ablation_entries, method_entries, peer_entries
    from casspec.tuner.suites.load import load_suite
    from casspec.tuner.suites.prompts import asked_turns, reporting_half, spread_over_tasks, without_refused

    exact = "float32" if check_lossless and dtype == "auto" else dtype
    loaded = casspec.load_target(name, device=device, dtype=exact, backend=backend, compiles=compiles)
    suite = load_suite(chosen_suite(suite_name, has_chat_template(loaded.tokenizer)), strict)
    suite = without_refused(suite, loaded.tokenizer)
    for note in suite.notes:
        say(note)
    prompts = asked_turns(spread_over_tasks(reporting_half(suite), n_prompts), turns or "all")
    long = long or "skip"
    profile = _profile(loaded, selection, storage, any_dtype=check_lossless)
    profile_id = profile.document.profile_id if profile and profile.document else None
    if check_lossless:
        profile = _as_if_made_for(profile, loaded)
    if sizes:
        from casspec.cli.batch_race import race

        asked_for = ["dytc"] if methods == "all" else _names(methods)
        how = max_new_tokens, repeats, seed, peers, json_file
        return race(loaded, profile, asked_for, prompts, sizes, "sample" if mode == "both" else mode, *how)
    entries = method_entries(loaded, profile, None if methods == "all" else _names(methods), say)
    entries += ablation_entries(loaded, profile) if ablation else []
    modes: tuple[Mode, ...] = ("sample", "greedy") if mode == "both" else (mode,)  # type: ignore[assignment]
    settings = {
        "suite": suite.name,
        "suite_sha256": suite.content_hash(),
        "profile": profile_id,
    }
    if check_lossless:
        room = max_new_tokens if long == "cut" else None
        return _check(loaded, prompts, entries, tokens, modes, seed, settings, output_format, json_file, room)

    from casspec.tuner.bench.run import BenchInterrupted, run_benchmark

    generators = [*entries, *(peer_entries(loaded, say) if peers and "greedy" in modes else ())]
    exit_code = 0
    try:
        with show_stages() as run, run.stage("bench") as progress:
            report = run_benchmark(
                loaded, prompts, generators, modes, max_new_tokens, repeats, seed, warm, progress, settings, long
            )
    except BenchInterrupted as interruption:
        report, exit_code = interruption.report, EXIT_INTERRUPTED
    try:
        _store(report, profile_id, storage, json_file)  # before anything is printed: whoever reads that may leave
    finally:
        _print_report(report, output_format)
    _show(report, storage, figures)
    return exit_code


def _model_name(model: str, target: str | None) -> str:
    """The model of the argument or of `--target`; both at once are a mistake."""
    if target is None:
        return model
    if click.get_current_context().get_parameter_source("model") is ParameterSource.COMMANDLINE:
        raise click.UsageError(f"MODEL is given twice, as '{model}' and by --target as '{target}': leave one out")
    return target


def _sizes(batches: str | None) -> list[int]:
    """Of `--batch`, [] without it."""
    try:
        sizes = [int(size) for size in _names(batches or "")]
    except ValueError:
        sizes = [0]
    if any(size < 1 for size in sizes):
        raise click.UsageError(f"--batch takes numbers of texts, such as 1,2,4,8, not {batches!r}")
    return sizes


def _names(methods: str) -> list[str]:
    return [name.strip() for name in methods.split(",") if name.strip()]


def _profile(target: TargetModel, selection: str | None, storage: str | None, any_dtype: bool) -> LoadedProfile | None:
    """The selected profile, else the latest that fits, else None. `any_dtype`: one made in another precision will do."""
    from casspec.profile_lookup import fitting_profile, profile_for
    from casspec.storage.errors import ProfileNotFound

    try:
        if selection:
            return profile_for(target, selection, storage, any_dtype)
        return fitting_profile(target, storage, any_dtype)
    except ProfileNotFound:
        if selection:
            raise
        say("no stored profile fits: every method runs on built-in priors")
        return None


def _as_if_made_for(profile: LoadedProfile | None, target: TargetModel) -> LoadedProfile | None:
    """The profile for a check of the target as it is loaded; says so where it was made in another precision."""
    from casspec.profile_lookup import as_if_made_for

    document = profile.document if profile else None
    if profile is None or document is None:
        return profile
    moved = as_if_made_for(document, target)
    if moved.dtype != document.dtype:
        say(f"checking what profile {document.profile_id}, made in {document.dtype}, decodes with in {moved.dtype}")
    return replace(profile, document=moved)


def _print_report(report: BenchReport, output_format: str) -> None:
    """The report, then what to know about it; the JSON comes last."""
    from casspec.tuner.bench.report import bench_csv, bench_json, bench_markdown, bench_table, remarks

    if output_format == "table":
        output.print(bench_table(report))
    elif output_format == "csv":
        click.echo(bench_csv(report))
    elif output_format == "markdown":
        click.echo(bench_markdown(report))
    for line in remarks(report):
        say(line)
    click.echo(bench_json(report))


def _store(report: BenchReport, profile_id: str | None, storage: str | None, json_file: Path | None) -> None:
    """Keeps the report as a file and beside its profile, alone when the profile came from a file."""
    from casspec.storage import open_repository
    from casspec.storage.errors import ProfileNotFound
    from casspec.tuner.bench.report import bench_json

    if json_file:
        json_file.write_text(bench_json(report) + "\n", encoding="utf-8")
    with open_repository(storage) as repository:
        try:
            repository.save_bench(profile_id, report)
        except ProfileNotFound:
            repository.save_bench(None, report)


def _show(report: BenchReport, storage: str | None, figures: Path | None) -> None:
    """Charts, then the mirror."""
    from casspec.storage import open_repository
    from casspec.tuner.bench.figures import write_figures
    from casspec.tuner.external_databases import external_databases
    from casspec.tuner.mlflow_mirror.owed import Debt
    from casspec.tuner.mlflow_mirror.telling import tell_mlflow

    if figures:
        write_figures(report, figures)
    debt = Debt(bench_hash=report.content_hash())
    with open_repository(storage) as repository:
        tell_mlflow(repository, external_databases(storage), debt, lambda mlflow: mlflow.mirror_bench(report))


def _check(
    target: TargetModel,
    prompts: list[Prompt],
    entries: list[Entry],
    n_tokens: int,
    modes: tuple[Mode, ...],
    seed: int,
    settings: dict[str, Any],
    output_format: str,
    json_file: Path | None,
    cut_for: int | None,
) -> int:
    """Args: cut_for: new tokens that too long prompts are cut for; None leaves them out."""
    from casspec.tuner.bench.lossless.check import CheckInterrupted, check_lossless
    from casspec.tuner.environment import environment
    from casspec.tuner.suites.files.rows import counted
    from casspec.tuner.suites.token_prompts import Room, token_prompts

    asked = token_prompts(target, prompts)
    if cut_for is not None:
        room = Room.before(target, cut_for, "cut")
        asked = [fitted for prompt in asked if (fitted := room.fitted(prompt)) is not None]
        if n_cut := sum(prompt.n_cut > 0 for prompt in asked):
            say(f"cut at the front: {counted(n_cut, 'prompt')}")
    exit_code = 0
    try:
        with show_stages() as run, run.stage("lossless") as progress:
            rows = check_lossless(target, asked, entries, n_tokens, modes, seed, progress)
    except CheckInterrupted as interruption:
        rows, exit_code = interruption.rows, EXIT_INTERRUPTED
    about = environment(target) | settings | {"seed": seed, "tokens": n_tokens, "interrupted": exit_code != 0}
    _print_verdicts(rows, about, output_format, json_file)
    return exit_code if all(row.lossless for row in rows) else EXIT_NOT_LOSSLESS


def _print_verdicts(
    rows: list[LosslessRow], environment: dict[str, Any], output_format: str, json_file: Path | None
) -> None:
    from casspec.tuner.bench.report import lossless_csv, lossless_json, lossless_markdown, lossless_table

    document = lossless_json(rows, environment)
    if json_file:
        json_file.write_text(document + "\n", encoding="utf-8")
    if output_format == "table":
        output.print(lossless_table(rows))
    elif output_format == "csv":
        click.echo(lossless_csv(rows))
    elif output_format == "markdown":
        click.echo(lossless_markdown(rows))
    click.echo(document)
