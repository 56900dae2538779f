"""`casspec calibrate`: profile, record, search, choose the cascade, publish its profile and benchmark it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from casspec.cli.calibration_report import print_outcome, print_plan
from casspec.cli.console import say, show_stages
from casspec.cli.options import (
    SecondsOrAuto,
    SectionedCommand,
    apply_threads,
    available_cores,
    check_device,
    chosen_suite,
    model_argument,
    run_options,
    seed_option,
    storage_option,
    suite_options,
)
from casspec.tuner.settings import CascadeSettings, ProfileSettings, RecordSettings, SearchSettings

if TYPE_CHECKING:
    from casspec.known_models import KnownModel
    from casspec.runtime.model.target import BackendChoice, TargetModel
    from casspec.storage.repository import Repository
    from casspec.storage.schema import BenchReport, CascadeProfile
    from casspec.tuner.search.workers.processes import WorkerPool
    from casspec.tuner.settings import CalibrationSettings
    from casspec.tuner.suites.prompts import Suite

SECTIONS = {
    "Profile": ("batch",),
    "Record": ("suite_name", "turns", "long", "strict"),
    "Search": ("trials", "budget", "workers"),
    "Cascade": ("max_drafters", "max_extra_bytes", "per_task"),
    "Bench": ("bench",),
}
"""Options by the stage they are of, as settings are."""


@click.command(name="calibrate", cls=SectionedCommand, sections=SECTIONS)
@model_argument
@run_options
@click.option(
    "--quick", is_flag=True, help="Less of everything and no benchmark: a working profile soon, not the best one."
)
@click.option("--dry-run", is_flag=True, help="Say what every stage would do and how long it may take, then stop.")
@click.option("--force", is_flag=True, help="Measure again although this calibration is stored.")
@click.option(
    "--batch",
    type=click.IntRange(1, 32),
    metavar="N",
    help="Largest batch to measure latencies of, for what is predicted of batches; takes a while longer."
    f"  [default: {ProfileSettings().max_batch}]",
)
@suite_options("half of it decides, the other half is benchmarked", turns=RecordSettings().turns)
@click.option(
    "--trials",
    type=click.IntRange(min=1),
    metavar="N",
    help="Most drafters to evaluate.  [default: all that a search starts from, then one for each sub-layer]",
)
@click.option(
    "--budget",
    type=SecondsOrAuto(),
    metavar="auto|SECONDS",
    help="Most time to search for; auto is a share of what the calibration costs, told before the search begins."
    f"  [default: {SearchSettings().seconds}]",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Processes that search, each with the model and its share of the threads.",
)
@click.option(
    "--max-drafters",
    type=click.IntRange(min=0),
    metavar="N",
    help=f"Most self-drafters of a cascade.  [default: {CascadeSettings().max_drafters}]",
)
@click.option(
    "--max-extra-bytes",
    type=click.IntRange(min=0),
    metavar="N",
    help="Most memory for quantised weights beside the model's own.  [default: no limit]",
)
@click.option("--per-task", is_flag=True, help="Ask which tasks deserve a cascade of their own; takes a while longer.")
@click.option(
    "--bench/--no-bench", default=None, help="End with a benchmark of the profile.  [default: yes, with --quick no]"
)
@seed_option
@storage_option
def command(
    model: str,
    device: str,
    dtype: str,
    backend: BackendChoice,
    compiles: bool,
    suite_name: str | None,
    turns: str | None,
    long: str | None,
    strict: bool,
    threads: int | None,
    quick: bool,
    dry_run: bool,
    trials: int | None,
    budget: float | str | None,
    workers: int,
    max_drafters: int | None,
    max_extra_bytes: int | None,
    batch: int | None,
    per_task: bool,
    bench: bool | None,
    force: bool,
    seed: int,
    storage: str | None,
) -> None:
    """Calibrate MODEL on this device: measure latencies, search drafters, store a cascade profile and benchmark it.

    MODEL is a local directory, a GGUF file, a name on the model hub, `reference` (the default), `testbed:N`, `smollm2`
    or `smollm2-dithered`. Whatever is measured is stored at once: after an interruption the same command goes on from
    there, and once finished it answers from the store. Further workers make the search faster, not other: --trials is
    of all together, --budget of each. On other machines `casspec tune --join latest` joins it, over the same --storage.
    """
    check_device(device)
    bench = not quick if bench is None else bench

    import casspec
    from casspec.known_models import recall
    from casspec.runtime.text.chat import has_chat_template
    from casspec.storage import open_repository
    from casspec.tuner.suites.load import load_suite, located

    with open_repository(storage) as repository:
        # 1. A model never seen comes first: a misspelt one shows before this interpreter's suite is listed, in minutes.
        target: TargetModel | None = None
        known = recall(model, dtype, backend)
        if known is not None:
            is_chat = known.has_chat_template
        else:
            target = casspec.load_target(model, device=device, dtype=dtype, backend=backend, compiles=compiles)
            is_chat = has_chat_template(target.tokenizer)

        # 2. What decides the outcome.
        suite_name = chosen_suite(suite_name, is_chat)
        suite = load_suite(suite_name, strict)
        for note in suite.notes:
            say(note)
        changes: dict[str, dict[str, Any]] = {
            "profile": {"max_batch": batch},
            "record": {"turns": turns, "long": long},
            "search": {"trials": trials, "seconds": budget},
            "cascade": {"max_drafters": max_drafters, "max_extra_bytes": max_extra_bytes, "per_task": per_task},
        }
        settings = _settings(located(suite_name), suite, seed, quick, changes)

        # 3. Finished before: answered without loading the model.
        here = device, threads or available_cores()
        answer = None if force else _answer(repository, known, here, settings, bench, compiles)
        if dry_run:
            from casspec.tuner.calibration.attempt import finished

            stored = answer or (target and not force and finished(repository, target, settings))
            print_plan(settings, suite, bench, stored=bool(stored))
            return
        if answer is not None:
            made = answer[0].created_at[:10]
            say(f"calibrated on {made}, answered from the store; --force measures again")
            print_outcome(*answer, asked=bench)
            _make_up(repository, storage)
            return

        # 4. Run or resumed, stage by stage.
        apply_threads(threads)
        from casspec.known_models import KnownModel, remember
        from casspec.runtime.loading.fingerprint import model_fingerprint
        from casspec.tuner.calibration.attempt import begin, finished, reuse_measurements
        from casspec.tuner.calibration.calibrate import STAGES, calibrate
        from casspec.tuner.calibration.closing_bench import bench as closing_bench
        from casspec.tuner.external_databases import external_databases

        target = target or casspec.load_target(model, device=device, dtype=dtype, backend=backend, compiles=compiles)
        done = None if force else finished(repository, target, settings)
        pool = _worker_pool(workers, model, device, storage)
        try:
            context = begin(repository, external_databases(storage), target, suite, settings, force)
            for note in context.suite.notes[len(suite.notes) :]:
                say(note)
            if not done and not force:
                reuse_measurements(context)
            with show_stages((*STAGES, "bench") if bench else STAGES) as stages:
                profile = done[1] if done else calibrate(context, stages, pool, tell=say)
                what = model_fingerprint(target), profile.dtype, target.backend, has_chat_template(target.tokenizer)
                remember(model, dtype, backend, KnownModel(*what))
                report = closing_bench(context, profile, stages) if bench else None
        except KeyboardInterrupt:
            again = "the same command without --force" if force else "the same command"
            raise click.Abort(f"everything measured is stored; {again} goes on from there") from None
    print_outcome(profile, report, asked=bench)


def _worker_pool(workers: int, model: str, device: str, storage: str | None) -> WorkerPool:
    """The processes beside this one; the storage's URL may hold a password and goes through the environment."""
    import torch

    from casspec.storage.database.location import ENVIRONMENT_VARIABLE
    from casspec.tuner.search.workers.processes import WorkerPool, share_of

    command = [sys.executable, "-P", "-m", "casspec", "tune", "--until-eof", "--model", model, "--device", device]
    command += ["--threads", str(share_of(torch.get_num_threads(), workers)), "--join"]
    return WorkerPool(workers - 1, command, {} if storage is None else {ENVIRONMENT_VARIABLE: storage}, say)


def _answer(
    repository: Repository,
    known: KnownModel | None,
    here: tuple[str, int],
    settings: CalibrationSettings,
    bench: bool,
    compiles: bool,
) -> tuple[CascadeProfile, BenchReport | None] | None:
    """Stored profile of a model whose fingerprint is known, found without loading the model or torch.

    With `bench` its newest benchmark too; None while there is none, or MLflow was not told of it.

    Args:
        here: device and CPU threads.
    """
    from casspec.runtime.loading.device import device_fingerprint
    from casspec.storage.plans import forwards_of
    from casspec.tuner.external_databases import MIRRORED_BENCH

    if known is None:
        return None
    run_by = {"backend": known.backend, "forwards": forwards_of(here[0], known.backend, compiles)}
    dumped = settings.model_copy(update=run_by).stored()
    finished = repository.finished_calibration(known.fingerprint, device_fingerprint(*here), known.dtype, dumped)
    if finished is None:
        return None
    calibration_id, profile = finished
    if bench and not repository.documents(calibration_id, MIRRORED_BENCH):
        return None
    return profile, next(iter(repository.bench_reports(profile.profile_id)), None) if bench else None


def _make_up(repository: Repository, storage: str | None) -> None:
    """Tells MLflow what it could not be told before; loads it only where there is anything."""
    from casspec.tuner.external_databases import external_databases
    from casspec.tuner.mlflow_mirror.owed import Owed

    databases = external_databases(storage)
    if Owed(databases.owed).debts():
        from casspec.tuner.mlflow_mirror.telling import make_up

        make_up(repository, databases)


def _settings(
    suite_name: str, suite: Suite, seed: int, quick: bool, changes: dict[str, dict[str, Any]]
) -> CalibrationSettings:
    """The defaults with `changes`; None is no change."""
    from casspec.tuner.settings import QUICK, CalibrationSettings

    settings = CalibrationSettings(suite=suite_name, suite_sha256=suite.content_hash(), seed=seed)
    asked = {
        stage: {name: value for name, value in values.items() if value is not None} for stage, values in changes.items()
    }
    return (settings.changed(QUICK) if quick else settings).changed(asked)
