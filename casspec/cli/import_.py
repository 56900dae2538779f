"""`casspec import`: a profile's JSON into the store, or skip sets as starting points of a search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from casspec.cli.console import say
from casspec.cli.options import storage_option


@click.command("import")
@click.argument("path", type=click.Path(dir_okay=False, path_type=Path), metavar="PATH")
@click.option("--model", metavar="MODEL", help="For skip_layers.json: the model whose layers it names.")
@click.option(
    "--layers",
    type=click.IntRange(min=1),
    metavar="N",
    help="For skip_layers.json: layers of the model, if not --model.",
)
@click.option(
    "--name", "names", multiple=True, metavar="NAME", help="For skip_layers.json: this entry only; repeatable."
)
@storage_option
def command(path: Path, model: str | None, layers: int | None, names: tuple[str, ...], storage: str | None) -> None:
    """Read PATH: a profile's JSON from `casspec export`, or a skip_layers.json whose sets the next search tries."""
    from casspec.storage.export import skip_layers
    from casspec.storage.export.json_profile import load_json

    content = load_json(path)
    if skip_layers.is_skip_layers(content):
        if (layers is None) == (model is None):
            raise click.UsageError(f"{path} holds skip sets: name their model with either --model or --layers")
        n_layers = layers if layers is not None else _layers_of(str(model))
        _import_starting_plans(path, skip_layers.read(content, n_layers, names), n_layers, storage)
    elif model is not None or layers is not None or names:
        raise click.UsageError(f"--model, --layers and --name belong to a skip_layers.json, which {path} is not")
    else:
        _import_profile(path, content, storage)


def _import_profile(path: Path, content: Any, storage: str | None) -> None:
    from casspec.storage import open_repository
    from casspec.storage.export.json_profile import parse, read_artifact

    profile = parse(content, path)
    artifacts = {artifact: read_artifact(path, artifact) for artifact in profile.artifacts}
    with open_repository(storage) as repository:
        repository.save_profile(None, profile)
        for artifact, found in artifacts.items():
            if found is None:
                say(f"artifact {artifact.name} is missing beside {path}: a drafter that uses it will start cold")
            else:
                repository.save_artifact(artifact.name, found)
    click.echo(profile.profile_id)


def _import_starting_plans(path: Path, plans: dict[str, Any], n_layers: int, storage: str | None) -> None:
    from casspec.storage import open_repository

    with open_repository(storage) as repository:
        for name, skip in plans.items():
            repository.save_starting_plan(name, skip, n_layers)
    say(f"{len(plans)} skip sets of {path} will be tried first on models of {n_layers} layers: {', '.join(plans)}")


def _layers_of(model: str) -> int:
    """Number of layers of a model, named in any of the usual ways. Imports transformers' configurations."""
    from casspec.model_names import directory_of
    from casspec.runtime.loading.models import load_config
    from casspec.storage.errors import CasspecError, UnknownModel

    try:
        return int(load_config(directory_of(model) or model).num_hidden_layers)
    except CasspecError as error:
        raise type(error)(f"{error}; or use --layers N instead of --model") from None
    except AttributeError as error:  # some configurations hold those of several models
        raise UnknownModel(f"{model} has no readable configuration ({error}): use --layers N instead") from None
