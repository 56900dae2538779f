"""Options that several commands share, so that a word means the same everywhere."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from math import inf, nan
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from casspec.cli.console import say
from casspec.cli.quota import quota_cores
from casspec.runtime.loading.names import named
from casspec.storage.errors import UnsupportedOption

Function = TypeVar("Function", bound=Callable[..., Any])

DTYPES = ("auto", "float32", "bfloat16", "float16")


class DeviceType(click.ParamType[str]):
    """`cpu`, `cuda` or `cuda:N`, checked by spelling; whether it exists takes torch to know, see `check_device`."""

    name = "device"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not re.fullmatch(r"cpu|cuda(:\d+)?", value):
            self.fail(f"{value!r} is not a device; expected cpu, cuda or cuda:N", param, ctx)
        return value


class SecondsOrAuto(click.ParamType[float | str]):
    """Seconds, at least one, or the word auto."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | str:
        if value == "auto":
            return "auto"
        try:
            seconds = float(value)
        except ValueError:
            seconds = nan
        if not 1.0 <= seconds < inf:
            self.fail(f"'{value}' is neither auto nor a number of seconds from 1 on", param, ctx)
        return seconds


class SectionedCommand(click.Command):
    """A command whose `--help` lists some options under headings.

    Args:
        sections: parameter names by heading, in the order they are shown; all other options stand under "Options".
    """

    def __init__(self, *args: Any, sections: Mapping[str, Sequence[str]], **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.sections = sections

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        under = {name: heading for heading, names in self.sections.items() for name in names}
        rows: dict[str, list[tuple[str, str]]] = {heading: [] for heading in ("Options", *self.sections)}
        for parameter in self.get_params(ctx):
            row = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if row is not None:
                rows[under.get(parameter.name or "", "Options")].append(row)
        for heading, listed in rows.items():
            with formatter.section(heading):
                formatter.write_dl(listed)


class SectionedGroup(SectionedCommand, click.Group):
    """The same of a command that does something by itself, and has others behind it."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_options(ctx, formatter)
        self.format_commands(ctx, formatter)


storage_option = click.option(
    "--storage",
    metavar="URL",
    envvar="CASSPEC_STORAGE",
    show_envvar=True,
    help="Database of calibrations, sqlite:///FILE or postgresql://...; by default SQLite in the user data directory.",
)

device_option = click.option(
    "--device", type=DeviceType(), default="cpu", show_default=True, help="cpu, cuda or cuda:N.", metavar="DEVICE"
)

dtype_option = click.option(
    "--dtype",
    type=click.Choice(DTYPES),
    default="auto",
    show_default=True,
    help="Precision of weights and cache; auto takes the checkpoint's own.",
)

backend_option = click.option(
    "--backend",
    type=click.Choice(("auto", "lean", "generic")),
    default="auto",
    show_default=True,
    help="What runs the forwards: a forward of ours, or the library's own layers; auto takes the lean one where it covers the model.",
)


def compile_option_of(default: bool | None, told: str) -> Callable[[Function], Function]:
    """`--compile`, passed as `compiles`, and told with what it is where it is not given."""
    return click.option(
        "--compile/--no-compile",
        "compiles",
        default=default,
        help="Whether forwards run as a whole: compiled code on a processor, graphs on CUDA. Without, torch's operators are called one "
        f"by one.  [default: {told}]",
    )


compile_option = compile_option_of(True, "compile")


def threads_option_of(default: str) -> Callable[[Function], Function]:
    """`--threads`, told with what it is where it is not given."""
    return click.option(
        "--threads", type=click.IntRange(min=1), metavar="N", help=f"CPU threads; by default {default}."
    )


threads_option = threads_option_of("all cores available")

seed_option = click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, metavar="N", help="Seed of everything random."
)


MODEL_KINDS = "A directory, a GGUF file, a hub name, reference, testbed:N, smollm2 or smollm2-dithered"
"""What is taken where a model is named."""


def model_argument(function: Function) -> Function:
    """MODEL, the one to work on: any of MODEL_KINDS, by default `reference`. With `--adapter`."""
    return click.argument("model", default="reference")(adapter_option(function))


def adapter_option(function: Function) -> Function:
    """`--adapter`, a LoRA of the model. The command is handed one name for both, in `model`, or in `target` where that is given."""

    @click.option(
        "--adapter", metavar="DIR", help="A LoRA directory as peft saves it, merged into the model's weights."
    )
    @wraps(function)
    def command(*arguments: Any, adapter: str | None, **options: Any) -> Any:
        if adapter is not None:
            place = "target" if options.get("target") else "model"
            if options.get(place) is None:
                raise click.UsageError("--adapter goes with a model: name the model too")
            options[place] = named(options[place], adapter)
        return function(*arguments, **options)

    return cast(Function, command)


def run_options(function: Function) -> Function:
    """`--device`, `--dtype`, `--backend`, `--compile` and `--threads`: where a model runs, on what, how, and in which precision."""
    return device_option(dtype_option(backend_option(compile_option(threads_option(function)))))


def format_option(*choices: str) -> Callable[[Function], Function]:
    """`--format`, passed to the command as `output_format`; the first of `choices` is the default."""
    return click.option(
        "--format",
        "output_format",
        type=click.Choice(choices),
        default=choices[0],
        show_default=True,
        help="How to print the result.",
    )


def suite_options(used_for: str, turns: str) -> Callable[[Function], Function]:
    """`--suite`, passed as `suite_name`, and how its prompts are taken: `--turns`, `--long`, `--strict`.

    Args:
        used_for: ends the help of `--suite`. turns: the default of `--turns`, all or first.
    """

    def decorate(function: Function) -> Function:
        for option in reversed(_suite_options(used_for, turns)):
            function = option(function)
        return function

    return decorate


def _suite_options(used_for: str, turns: str) -> list[Callable[[Function], Function]]:
    return [
        click.option(
            "--suite",
            "suite_name",
            metavar="SUITE",
            help="`chat`, `reference`, a file of prompts (JSONL, JSON, text, CSV or Parquet; FILE:COLUMN names the column), a "
            f"source file, or a directory of either; {used_for}.  [default: chat for a model with a chat template, else "
            "reference]",
        ),
        click.option(
            "--turns",
            type=click.Choice(["first", "all"]),
            help="Turns of a conversation that are asked; later ones quote the model's own answers, or recorded ones."
            f"  [default: {turns}]",
        ),
        click.option(
            "--long",
            type=click.Choice(["skip", "cut"]),
            help="What becomes of prompts that leave no room in the context: left out, or cut at the front."
            "  [default: skip]",
        ),
        click.option("--strict", is_flag=True, help="Refuse a suite with a row that cannot be used."),
    ]


def chosen_suite(asked: str | None, has_chat_template: bool) -> str:
    """The suite that was asked for, else the model's default, told in one line."""
    if asked is not None:
        return asked
    from casspec.tuner.suites.load import default_suite

    name = default_suite(has_chat_template)
    say(f"suite '{name}': this model has {'a' if has_chat_template else 'no'} chat template; --suite names another")
    return name


def figures_option(drawn: str) -> Callable[[Function], Function]:
    """`--figures`, a directory that is made when it is missing; `drawn`: what is drawn there."""
    return click.option(
        "--figures",
        type=click.Path(file_okay=False, path_type=Path),
        metavar="DIRECTORY",
        help=f"Also draw there, as PNG files: {drawn}.",
    )


def set_up(device: str, threads: int | None) -> None:
    """What `--device` and `--threads` ask for, before any model is loaded. Imports torch."""
    check_device(device)
    apply_threads(threads)


def check_device(device: str) -> None:
    """Raises UnsupportedOption where torch cannot use `device`. Imports torch."""
    if device == "cpu":
        return
    import torch

    if not torch.cuda.is_available():
        build = "this torch is built without CUDA" if torch.version.cuda is None else "torch finds no CUDA device"
        raise UnsupportedOption(f"--device {device}: {build}; use --device cpu or install a torch that fits your GPU")
    index = int(device.partition(":")[2] or 0)
    count = torch.cuda.device_count()
    if index >= count:
        raise UnsupportedOption(f"--device {device}: expected an index below {count}, the number of CUDA devices here")


def apply_threads(threads: int | None) -> int:
    """Sets how many CPU threads torch computes with and returns it; None takes every core this process may use."""
    import torch

    count = threads or available_cores()
    torch.set_num_threads(count)
    return count


def available_cores() -> int:
    """Cores this process may run on, which on a shared machine or in a container can be fewer than there are."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = quota_cores()
    return cores if quota is None else max(1, min(cores, int(quota)))
