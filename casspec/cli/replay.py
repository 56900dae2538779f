"""`casspec replay`: the methods of a stored profile on recordings, without decoding anything."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import cache, partial
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from casspec.cli.calibrated import compile_as_calibrated_option, load_for
from casspec.cli.console import output, say, show_stages
from casspec.cli.options import adapter_option, device_option, format_option, set_up, storage_option, threads_option

if TYPE_CHECKING:
    from casspec.storage.repository import Repository
    from casspec.storage.schema import BenchReport, CascadeProfile, LatencyModel, Mode
    from casspec.tuner.recordings.recording import Recording
    from casspec.tuner.replay.run import Bounds, Played, Predicted

UNVERIFIED = "predicted; `casspec bench --batch` measures"


@click.command(name="replay")
@click.argument("model", required=False)
@adapter_option
@click.option(
    "--profile", "selection", metavar="ID", help="Stored profile; by default the latest, of MODEL where that is given."
)
@click.option("--methods", default="all", show_default=True, metavar="all|A,B", help="Methods to replay.")
@click.option(
    "--half",
    type=click.Choice(["reporting", "tuning"]),
    default="reporting",
    show_default=True,
    help="Which half of the suite. The profile was made from the tuning half, so that its figures flatter.",
)
@click.option("--mode", type=click.Choice(["sample", "greedy", "both"]), default="both", show_default=True)
@click.option("--prompts", "n_prompts", type=click.IntRange(min=1), metavar="N", help="Only N prompts of all tasks.")
@click.option("--batch", type=click.IntRange(min=1), default=1, show_default=True, metavar="N", help="Side by side.")
@click.option("--latency", metavar="ID", help="Stored profile whose latencies to take instead, of another device say.")
@click.option("--verify", is_flag=True, help="Also decode the same prompts, as `casspec bench` does, and store that.")
@device_option
@compile_as_calibrated_option
@threads_option
@format_option("table", "json")
@storage_option
def command(
    model: str | None,
    selection: str | None,
    methods: str,
    half: str,
    mode: str,
    n_prompts: int | None,
    batch: int,
    latency: str | None,
    verify: bool,
    device: str,
    compiles: bool | None,
    threads: int | None,
    output_format: str,
    storage: str | None,
) -> None:
    """Predict what the methods of a stored profile gain, by decoding recordings in simulation.

    Prints every method by task with its predicted speedup and mean acceptance length, and two bounds: the best that can be had in
    hindsight from what dytc drafts with, and the best for one who knows the text. Where a benchmark of the profile decoded the same
    prompts, or with --verify, what it measured stands beside. The model MODEL is loaded only for what is not stored yet: recordings
    of the reporting half, what self-drafters say on recordings, and what a step costs beside its forwards.
    """
    if verify and (batch > 1 or latency):
        raise click.UsageError("--verify decodes one sequence on this device: leave --batch and --latency out")
    set_up(device, threads)

    from casspec.profile_lookup import load_profile
    from casspec.runtime.latency.predictor import LatencyPredictor
    from casspec.storage import open_repository
    from casspec.tuner.bench.report import bench_table
    from casspec.tuner.bench.run import BenchInterrupted
    from casspec.tuner.recordings.plan_traces import TraceShelf
    from casspec.tuner.replay.overhead import stored_overheads
    from casspec.tuner.replay.policies import AbsentModel, replayable
    from casspec.tuner.replay.run import ReplayRun, StepCosts
    from casspec.tuner.replay.texts import ReplayTexts

    names = replayable(None if methods == "all" else [name.strip() for name in methods.split(",") if name.strip()])
    with open_repository(storage) as repository:
        profile = repository.profile(selection or _latest(repository, model))
        at_latency = _latencies(repository, latency, profile) if latency else profile.latency
        loaded = load_profile(profile.profile_id, storage)
        load = cache(partial(load_for, profile, model or profile.model.name, device, compiles))
        texts = ReplayTexts(repository, profile, load, half)  # type: ignore[arg-type]
        modes: tuple[Mode, ...] = texts.settings.record.modes if mode == "both" else (mode,)  # type: ignore[assignment]
        with show_stages(("record", "replay", "bounds")) as run:
            with run.stage("record") as progress:
                recordings = texts.recordings(modes, n_prompts, progress)
                measured_at = LatencyPredictor(profile.latency).forward_ms
                overheads = stored_overheads(repository, texts.calibration_id, load, texts.tuning(), measured_at)
            shelf = TraceShelf(repository, texts.calibration_id, recordings, load)
            full_plan = AbsentModel(profile.model.n_layers, profile.model.vocab_size).full_plan
            costs = StepCosts(full_plan, LatencyPredictor(at_latency, batch).forward_ms, overheads, batch)
            replays = ReplayRun(profile, loaded.recycling_matrix, recordings, shelf, costs)
            played: list[Played] = []
            left_out: dict[str, str] = {}
            bounds: list[Bounds] = []
            with run.stage("replay", len(names)) as progress:
                for done, method in enumerate(names):
                    progress(done, note=method)
                    with _told(left_out, method, of_all=methods == "all"):
                        played.append(replays.method(method))
            names = [one.method for one in played]
            predicted = [row for one in played for row in one.rows()]
            with run.stage("bounds"), _told(left_out, "the bounds", of_all=methods == "all"):
                bounds = replays.bounds(predicted)
        for what, reason in left_out.items():
            say(f"left out: {what}, {reason}")
        alike = batch == 1 and latency is None
        report = texts.benchmark(modes) if alike else None
        if verify:
            try:
                with show_stages() as run, run.stage("decode") as progress:
                    report = texts.decoded(loaded, names, modes, recordings, predicted, progress)
            except BenchInterrupted as interruption:
                report = interruption.report
    about = _about(profile, half, batch, latency, recordings, report) | {"left_out": left_out}
    _print(played, predicted, bounds, report, about, output_format)
    if about["interrupted"] and report is not None:
        if output_format == "table":
            output.print(bench_table(report))
        raise click.Abort(
            "what was decoded until then is compared with nothing and not stored; --prompts N takes less time"
        )


@contextmanager
def _told(left_out: dict[str, str], what: str, of_all: bool) -> Iterator[None]:
    """Notes why something cannot be replayed here, for want of a kernel say; what the user named by itself is refused."""
    from casspec.storage.errors import UnsupportedOption

    try:
        yield
    except UnsupportedOption as error:
        if not of_all:
            raise
        left_out[what] = str(error)


def _latencies(repository: Repository, selection: str, profile: CascadeProfile) -> LatencyModel:
    """Those of another profile. Raises ProfileMismatch for one of another model: its sub-layers take other times."""
    from casspec.storage.errors import ProfileMismatch

    other = repository.profile(selection)
    if other.model.config_sha256 != profile.model.config_sha256:
        raise ProfileMismatch(
            f"profile {other.profile_id} holds latencies of '{other.model.name}', not of '{profile.model.name}': "
            "--latency takes a profile of the same model on another device"
        )
    return other.latency


def _latest(repository: Repository, model: str | None) -> str:
    """The latest profile, of a model where one is named."""
    from casspec.storage.errors import ProfileNotFound

    if model is None:
        return "latest"
    for profile in repository.profiles():
        if profile.model.name == model:
            return profile.content_hash()
    raise ProfileNotFound(f"no profile is stored for '{model}': run `casspec calibrate {quote(model)}` first")


def _about(
    profile: CascadeProfile,
    half: str,
    batch: int,
    latency: str | None,
    recordings: list[Recording],
    report: BenchReport | None,
) -> dict[str, Any]:
    return {
        "profile": profile.profile_id,
        "model": profile.model.name,
        "device": profile.device.name,
        "dtype": profile.dtype,
        "half": half,
        "batch": batch,
        "status": "predicted" if batch == 1 else UNVERIFIED,
        "latency_of": latency or profile.profile_id,
        "n_tokens": len(recordings[0].continuation_tokens),
        "benchmark": report.created_at if report else None,
        "benchmark_noise": report.noise if report else None,
        "interrupted": bool(report and report.environment.get("interrupted")),
    }


def _print(
    played: list[Played],
    predicted: list[Predicted],
    bounds: list[Bounds],
    report: BenchReport | None,
    about: dict[str, Any],
    output_format: str,
) -> None:
    from casspec.cli.replay_tables import bound_table, gap_table, replay_table
    from casspec.tuner.replay.reality import gaps

    whole = None if about["interrupted"] else report
    compared = gaps(played, whole) if whole else []
    same_texts = gaps(played, whole, same_texts=True) if whole else []
    if output_format == "json":
        document = {
            "schema": 1,
            "rows": [asdict(row) for row in predicted],
            "bounds": [asdict(row) for row in bounds],
            "gaps": [gap.listed() for gap in compared],
            "gaps_of_same_texts": [gap.listed() for gap in same_texts],
            "environment": about,
        }
        click.echo(json.dumps(document))
        return
    output.print(replay_table(predicted, about))
    if bounds:
        output.print(bound_table(bounds))
    if compared:
        output.print(gap_table(compared, same_texts, about))
    elif about["batch"] == 1 and not about["interrupted"]:
        say("no stored benchmark decoded these prompts and tokens: --verify decodes them")
    if about["half"] == "tuning":
        say("the profile was made from these texts, so that its methods do better here than elsewhere")
