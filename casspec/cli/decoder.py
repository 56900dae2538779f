"""The decoder a command runs: a model, the profile that was asked for or fits, a method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from shlex import quote
from typing import TYPE_CHECKING, Any, TypeVar

import click

from casspec.cli.console import say
from casspec.cli.options import MODEL_KINDS, adapter_option, run_options, storage_option

if TYPE_CHECKING:
    from casspec.runtime.decode import Decoder
    from casspec.runtime.loading.profiles import LoadedProfile
    from casspec.runtime.model.target import TargetModel

Function = TypeVar("Function", bound=Callable[..., Any])

FITTING = "fitting"
NONE = "none"

_MODEL_OPTIONS = (
    click.option("--model", default="reference", show_default=True, metavar="MODEL", help=f"{MODEL_KINDS}."),
    adapter_option,
)

_METHOD_OPTIONS = (
    click.option(
        "--profile",
        default=FITTING,
        metavar="PROFILE",
        help="production, latest, an ID, a JSON file, hub://HOST:PORT, or none; by default the latest that fits model, dtype and device.",
    ),
    click.option(
        "--method",
        default="auto",
        show_default=True,
        metavar="METHOD",
        help="How to decode, see casspec.methods(); auto is what the profile predicts to be fastest, dytc without a profile.",
    ),
    click.option(
        "--task", metavar="TASK", help="What the prompt is: a task for which the profile has a cascade of its own."
    ),
)


def decoder_options(function: Function) -> Function:
    """`--model`, `--adapter`, `--profile`, `--method`, `--task`, where the model runs, and `--storage`."""
    function = method_options(function)
    for option in reversed(_MODEL_OPTIONS):
        function = option(function)
    return function


def method_options(function: Function) -> Function:
    """The same for a command that names its model otherwise."""
    function = run_options(storage_option(function))
    for option in reversed(_METHOD_OPTIONS):
        function = option(function)
    return function


def decoder_for(target: TargetModel, profile: str, method: str, task: str | None, storage: str | None) -> Decoder:
    """With the profile asked for; where none fits the model that is said, and the decoder runs on built-in priors."""
    import casspec

    return casspec.Decoder(target, profile_with_task(target, profile, task, storage), method)


def profile_with_task(target: TargetModel, profile: str, task: str | None, storage: str | None) -> LoadedProfile | None:
    """The profile asked for, with the cascade of a task; None where none fits the model, which is said."""
    return _for_task(_profile(profile, target, storage), task)


def _profile(selection: str, target: TargetModel, storage: str | None) -> LoadedProfile | None:
    from casspec.profile_lookup import fitting_profile, profile_for
    from casspec.storage.errors import ProfileNotFound, StorageError

    if selection == NONE:
        return None
    if selection != FITTING:
        return profile_for(target, selection, storage)
    try:
        return fitting_profile(target, storage)
    except (ProfileNotFound, StorageError) as error:
        say(f"running on built-in priors: {error}; `casspec calibrate {quote(target.name)}` makes a profile")
        return None


def _for_task(loaded: LoadedProfile | None, task: str | None) -> LoadedProfile | None:
    """The profile for a task; whether there is a cascade for it is said, for a misspelt task looks the same as one without."""
    if loaded is None or loaded.document is None or task is None:
        return loaded
    own = loaded.document.by_task
    if task not in own:
        say(f"the cascade for all tasks serves '{task}'; tasks with one of their own: {', '.join(own) or 'none'}")
    return replace(loaded, task=task)
