"""`casspec testbed`: models with the latencies of a big one and the function of the reference."""

from __future__ import annotations

from pathlib import Path

import click

from casspec.cli.console import say


@click.group("testbed")
def command() -> None:
    """Make a wider model of the reference's function, to measure at a big model's latencies."""


@command.command("widen")
@click.option(
    "--hidden",
    type=click.IntRange(min=1),
    required=True,
    metavar="N",
    help="Hidden size, a multiple of 64: 1536 is bound by memory on a CPU, 4096 has the layers of a 7B model.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Where the model goes; by default the user cache directory, where `testbed:N` is looked for.",
)
@click.option("--force", is_flag=True, help="Make it again where it stands already.")
def widen_reference(hidden: int, out: Path | None, force: bool) -> None:
    """Make the reference N wide: the same function, the latencies of a bigger model.

    Every command takes `testbed:N` as MODEL and makes it when it is missing.
    """
    from casspec.testbed import checkpoint_bytes, testbed_path, wide_config, widen

    directory, name = (out, str(out)) if out else (testbed_path(hidden), f"testbed:{hidden}")
    config = wide_config(hidden)
    if out is None and directory.is_dir() and not force:
        say(f"{name} stands in {directory}; --force makes it again")
    else:
        say(f"making {name}: {config['num_hidden_layers']} layers, {checkpoint_bytes(config) / 1e9:.1f} GB")
        widen(hidden, directory, force)
        say(f"made; try: casspec bench {name}")
    click.echo(directory)
