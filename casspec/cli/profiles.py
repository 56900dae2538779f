"""`casspec profiles`: what is stored, in full, side by side, and no longer."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from casspec.cli.console import output, say
from casspec.cli.options import format_option, storage_option

if TYPE_CHECKING:
    from casspec.storage.repository import Repository
    from casspec.storage.schema import BenchReport, CascadeProfile


@click.group()
def command() -> None:
    """List, show, compare, promote and delete stored cascade profiles.

    A profile is named by its ID, a unique beginning of it, an alias such as "production", or "latest".
    """


@command.command("list")
@format_option("table", "json")
@storage_option
def list_(output_format: str, storage: str | None) -> None:
    """List all profiles, the latest first."""
    from casspec.storage import open_repository

    with open_repository(storage) as repository:
        rows = [_summary(repository, profile) for profile in repository.profiles()]
    if output_format == "json":
        click.echo(json.dumps(rows, indent=2))
    elif not rows:
        say("no profiles yet: `casspec calibrate` makes one")
    else:
        from casspec.cli.profile_tables import profile_list

        output.print(profile_list(rows))


@command.command()
@click.argument("profile", metavar="ID", default="latest")
@format_option("table", "json")
@storage_option
def show(profile: str, output_format: str, storage: str | None) -> None:
    """Show everything about a profile: its cascade, latency model, acceptance and benchmark."""
    from casspec.storage import open_repository

    with open_repository(storage) as repository:
        found = repository.profile(profile)
        reports = repository.bench_reports(found.profile_id)
    if output_format == "json":
        document = {
            "id": found.profile_id,
            "profile": found.model_dump(mode="json"),
            "bench_reports": [report.model_dump(mode="json") for report in reports],
        }
        click.echo(json.dumps(document, indent=2))
    else:
        from casspec.cli.profile_tables import profile_details

        for part in profile_details(found, reports):
            output.print(part)


@command.command()
@click.argument("profiles", metavar="ID ID...", nargs=-1, required=True)
@format_option("table", "json")
@storage_option
def compare(profiles: tuple[str, ...], output_format: str, storage: str | None) -> None:
    """Show profiles side by side."""
    from casspec.storage import open_repository

    if len(profiles) < 2:
        raise click.UsageError("name at least two profiles to compare")
    with open_repository(storage) as repository:
        rows = [_summary(repository, repository.profile(selection)) for selection in profiles]
    if output_format == "json":
        click.echo(json.dumps(rows, indent=2))
    else:
        from casspec.cli.profile_tables import side_by_side

        output.print(side_by_side(rows))


@command.command()
@click.argument("profile", metavar="ID")
@click.option("--alias", default="production", show_default=True, metavar="NAME", help="Under which name.")
@storage_option
def promote(profile: str, alias: str, storage: str | None) -> None:
    """Put a profile into production: `--profile production` then decodes with it, on its model and device.

    The one promoted before gives the name up. MLflow's registry shows the same alias on the profile's version.
    """
    from casspec.storage import open_repository
    from casspec.tuner.calibration_history import CalibrationHistory
    from casspec.tuner.external_databases import external_databases
    from casspec.tuner.mlflow_mirror.owed import Debt
    from casspec.tuner.mlflow_mirror.telling import tell_mlflow

    with open_repository(storage) as repository:
        promoted = repository.set_alias(alias, profile)
        calibrated = CalibrationHistory.of_profile(repository, promoted.content_hash())
        debt = Debt(promoted.content_hash())
        version = tell_mlflow(repository, external_databases(storage), debt, lambda mlflow: mlflow.promote(calibrated))
    registered = "" if version is None else f", version {version} in MLflow's registry"
    say(f"{alias} is now {promoted.profile_id} ({calibrated.name}){registered}")


@command.command()
@click.argument("profile", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask.")
@storage_option
def delete(profile: str, yes: bool, storage: str | None) -> None:
    """Delete a profile with its measurements and benchmarks."""
    from casspec.storage import open_repository

    with open_repository(storage) as repository:
        found = repository.profile(profile)
        what = f"{found.profile_id} ({found.model.name} on {found.device.name}, {found.dtype})"
        if not yes and not click.confirm(f"Delete profile {what} with its measurements and benchmarks?", err=True):
            say("nothing deleted")
            return
        repository.delete_profile(found.content_hash())
        left = repository.alias_holders(found)
    _forget(found, left, storage)
    say(f"deleted {found.profile_id}")


def _forget(profile: CascadeProfile, aliases: dict[str, str], storage: str | None) -> None:
    """Takes the profile out of MLflow's registry, where there is one, and leaves these aliases there."""
    from casspec.tuner.external_databases import external_databases

    databases = external_databases(storage)
    if databases.mirrored:
        from casspec.storage.errors import MirrorError
        from casspec.tuner.mlflow_mirror.mirror import MLflowMirror

        try:
            MLflowMirror(databases).forget(profile, aliases)
        except MirrorError as error:
            say(f"{error}; the version of profile {profile.profile_id} is still registered there: delete it by hand")


def _summary(repository: Repository, profile: CascadeProfile) -> dict[str, Any]:
    """One profile as a flat record of JSON values, with the newest benchmark of `dytc` if there is one."""
    return {
        "id": profile.profile_id,
        "aliases": repository.aliases().get(profile.content_hash(), []),
        "created_at": profile.created_at,
        "model": profile.model.name,
        "parameters": profile.model.parameters,
        "device": profile.device.name,
        "dtype": profile.dtype,
        "backend": profile.backend or "lean",
        "suite": profile.suite,
        "decision": profile.decision,
        "fastest": {mode: profile.fastest(mode) for mode in profile.predicted_speedup},
        "predicted_of_others": dict(profile.predicted_of_others),
        "drafters": [drafter.name for drafter in profile.drafters],
        "skipped_sublayers": [len(drafter.skip) for drafter in profile.drafters],
        "dytc": profile.settings("dytc"),
        "extra_bytes": profile.extra_bytes,
        "latency_error": profile.latency.cv_median_error,
        "latency_p90_error": profile.latency.cv_p90_error,
        "test_retest": profile.latency.test_retest,
        "predicted_speedup": dict(profile.predicted_speedup),
        "measured_speedup": _measured(profile, repository.bench_reports(profile.profile_id)),
    }


def _measured(profile: CascadeProfile, reports: list[BenchReport]) -> dict[str, float]:
    """Overall speedup of `dytc` by decoding mode, each in the newest report that has it."""
    from casspec.storage.schema import OVERALL
    from casspec.tuner.bench.predicted_vs_measured import compare

    overall = [row for row in compare(profile, reports) if row.task == OVERALL]
    return {row.mode: row.measured for row in overall if row.measured is not None}
