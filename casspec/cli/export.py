"""`casspec export`: a stored profile for another engine, or as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from casspec.cli.console import messages, say
from casspec.cli.options import storage_option

if TYPE_CHECKING:
    from casspec.storage.engines.documents import EngineResult
    from casspec.storage.repository import Repository
    from casspec.storage.schema import CascadeProfile

TARGETS = ("json", "huggingface", "vllm", "sglang", "tensorrt-llm", "llama.cpp", "skip-layers")


@click.command()
@click.argument("profile", metavar="ID")
@click.option("--to", "target", type=click.Choice(TARGETS), default="json", show_default=True, help="What to write.")
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Where to; stdout by default."
)
@storage_option
def command(profile: str, target: str, output: Path | None, storage: str | None) -> None:
    """Write profile ID (or a unique beginning of it, or "latest") for another engine, or whole as JSON.

    What the target cannot express is said on stderr. An engine that was measured with this model on this device
    (`casspec engine tune`) gets what was measured there.
    """
    if output is not None and not output.parent.is_dir():
        raise click.UsageError(f"{output.parent} is no folder to write into: create it first")
    from casspec.storage import open_repository
    from casspec.storage.export import engine_result, exporter
    from casspec.storage.export.json_profile import write_whole

    with open_repository(storage) as repository:
        found = repository.profile(profile)
        measured = _measured(repository, found, target)
        exported = exporter(target)(found) if measured is None else engine_result.export(measured)
        if output is not None and target == "json":
            _write_artifacts(repository, found, output)
    if output is None:
        click.echo(exported.text, nl=False)
    else:
        write_whole(output, exported.text.encode())
        say(f"wrote {output}")
    if output is None and target == "json" and found.artifacts:
        names = ", ".join(artifact.name for artifact in found.artifacts)
        say(f"not in this text: {names}; name a file with --output to write artifacts beside it")
    messages.print(f"[bold]{exported.fidelity}[/bold]:", end=" ")
    say(exported.note)


def _measured(repository: Repository, profile: CascadeProfile, target: str) -> EngineResult | None:
    """The newest result of that engine with the profile's model on its device."""
    from casspec.runtime.loading.device import kernel_difference

    for _, result in repository.engines.results(target):
        device = result.subject.device
        is_same = device.name == profile.device.name and kernel_difference(device, profile.device) is None
        if is_same and result.is_of(profile.model):
            return result
    return None


def _write_artifacts(repository: Repository, profile: CascadeProfile, output: Path) -> None:
    from casspec.storage.export.json_profile import artifact_file, write_whole

    for artifact in profile.artifacts:
        content = repository.artifact(artifact.sha256)
        if content is None:
            say(f"artifact {artifact.name} is not stored here: a drafter that uses it will start cold")
        else:
            write_whole(artifact_file(output, artifact), content)
