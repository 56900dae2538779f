"""`casspec reference`: what the bundled model and its prompt suite were made with, for whoever wants to make others."""

from __future__ import annotations

from pathlib import Path

import click

from casspec.cli.console import say, show_stages
from casspec.cli.options import apply_threads, device_option, seed_option, set_up, threads_option


@click.group("reference")
def command() -> None:
    """Train the reference model and list its prompt suite."""


@command.command("suite")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Where to write the list; by default where this interpreter looks for its own.",
)
@click.option("--prompts", type=click.IntRange(min=2), default=12, show_default=True, help="Prompts wanted per task.")
@click.option(
    "--candidates",
    type=click.IntRange(min=1),
    default=512,
    show_default=True,
    help="Cuts to generate from per task, at most; few are kept.",
)
@click.option("--from-scratch", is_flag=True, help="Judge everything anew instead of adding to the list that ships.")
@seed_option
@threads_option
def suite(out: Path | None, prompts: int, candidates: int, from_scratch: bool, seed: int, threads: int | None) -> None:
    """List where this interpreter's library can be cut into prompts that do not make the model loop.

    Nothing of the library's text is written, only modules, offsets and hashes. Prompts of the list that ships are kept
    where this library has their text; another seed finds others to add. A list that ships and fits the interpreter
    goes before one made here.
    """
    from casspec.tuner.suites.reference.build import ListBudget, make_list
    from casspec.tuner.suites.reference.suite import own_list_path
    from casspec.tuner.suites.reference.suite_list import committed_list, write_list

    apply_threads(threads)
    known = None if from_scratch else committed_list()
    made = make_list(ListBudget(prompts, candidates, seed), known, on_progress=say)
    path = out or own_list_path()
    write_list(made, path)
    say(f"{len(made.entries)} prompts listed in {path}")


@command.command("train")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="Where the model goes.",
)
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    default=90.0,
    show_default=True,
    help="Training time; the learning rate is planned over it.",
)
@click.option(
    "--corpus",
    "directories",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    multiple=True,
    metavar="DIR",
    help="A directory of Python source to train on beside the standard library; repeatable.",
)
@device_option
@seed_option
@threads_option
def train_model(
    out: Path, minutes: float, directories: tuple[Path, ...], device: str, seed: int, threads: int | None
) -> None:
    """Train a model by the recipe of the bundled one; Ctrl-C pauses, the same command goes on."""
    from casspec.reference import model_name
    from casspec.reference.corpus import find_corpus
    from casspec.reference.train import Budget, Recipe, TrainingReport, train

    set_up(device, threads)
    with show_stages() as stages, stages.stage("train", total=100) as progress:

        def on_report(report: TrainingReport) -> None:
            losses = f"loss {report.training_loss:.3f}, held-out {report.heldout_loss:.3f}"
            progress(round(100 * report.progress), note=f"step {report.step}, {losses}")

        last = train(find_corpus(directories), out, Budget(minutes), Recipe(seed=seed), device, on_report)
    say(
        f"{model_name(out)} in {out}: {last.tokens_seen} tokens seen in {last.seconds / 60:.1f} minutes, "
        f"held-out loss {last.heldout_loss:.3f}"
    )
