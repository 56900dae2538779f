"""`casspec generate`: decodes a prompt with a stored cascade and streams the text."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import IO, TYPE_CHECKING, Any

import click

from casspec.cli.console import say
from casspec.cli.options import MODEL_KINDS, run_options, seed_option, set_up, storage_option

if TYPE_CHECKING:
    from casspec.runtime.decode import Decoder, Generation, Statistics
    from casspec.runtime.loading.profiles import LoadedProfile
    from casspec.runtime.model.target import TargetModel

FITTING = "fitting"
NONE = "none"


@click.command()
@click.argument("prompt", required=False)
@click.option("--file", type=click.File(encoding="utf-8"), metavar="FILE", help="Read the prompt from a file.")
@click.option("--model", default="reference", show_default=True, metavar="MODEL", help=f"{MODEL_KINDS}.")
@click.option(
    "--profile",
    default=FITTING,
    metavar="PROFILE",
    help="production, latest, an ID, a JSON file, or none; by default the latest that fits model, dtype and device.",
)
@click.option(
    "--method",
    default="auto",
    show_default=True,
    metavar="METHOD",
    help="How to decode, see casspec.methods(); auto is what the profile predicts to be fastest, dytc without a profile.",
)
@click.option(
    "--task", metavar="TASK", help="What the prompt is: a task for which the profile has a cascade of its own."
)
@click.option("--max-new-tokens", type=click.IntRange(min=0), default=128, show_default=True, metavar="N")
@click.option(
    "--temperature", type=click.FloatRange(min=0), default=0.0, show_default=True, metavar="T", help="0 is greedy."
)
@click.option("--top-k", type=click.IntRange(min=1), metavar="K", help="Sample from the K likeliest tokens.")
@click.option(
    "--top-p",
    type=click.FloatRange(min=0, max=1, min_open=True),
    metavar="P",
    help="Sample from the likeliest tokens that hold this probability together.",
)
@seed_option
@run_options
@click.option("--stats", is_flag=True, help="Say on stderr what decoding did and how long it took.")
@storage_option
def command(
    prompt: str | None,
    file: IO[str] | None,
    model: str,
    profile: str,
    method: str,
    task: str | None,
    max_new_tokens: int,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    seed: int,
    device: str,
    dtype: str,
    threads: int | None,
    stats: bool,
    storage: str | None,
) -> None:
    """Go on from PROMPT (or a file, or standard input with -) and print the new text as it comes.

    The text does not depend on method or profile: they change the speed only.
    """
    text = _prompt(prompt, file)
    set_up(device, threads)

    import casspec

    target = casspec.load_target(model, device=device, dtype=dtype)
    prompt_ids = _encode(target, text)
    decoder = casspec.Decoder(target, _for_task(_profile(profile, target, storage), task), method)
    request: dict[str, Any] = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": seed}
    generation = _stream(decoder, prompt_ids, max_new_tokens=max_new_tokens, **request)
    if stats:
        _print_statistics(generation.statistics)


def _prompt(prompt: str | None, file: IO[str] | None) -> str:
    if (prompt is None) == (file is None):
        raise click.UsageError("give either a PROMPT, - for standard input, or --file FILE")
    try:
        if file is not None:
            return file.read()
        return sys.stdin.buffer.read().decode("utf-8") if prompt == "-" else str(prompt)
    except UnicodeDecodeError as error:
        raise click.UsageError(f"the prompt is no UTF-8 text ({error.reason} at byte {error.start})") from None


def _encode(target: TargetModel, text: str) -> list[int]:
    from casspec.storage.errors import UnsupportedOption

    if target.tokenizer is None:
        raise UnsupportedOption(f"model '{target.name}' brings no tokenizer, so it cannot go on from text")
    tokens = target.tokenizer.encode(text)
    if not tokens and target.tokenizer.bos_token_id is not None:
        tokens = [target.tokenizer.bos_token_id]
    return tokens


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
        say(f"running on built-in priors: {error}; `casspec calibrate {target.name}` makes a profile")
        return None


def _for_task(loaded: LoadedProfile | None, task: str | None) -> LoadedProfile | None:
    """The profile for a task; whether there is a cascade for it is said, for a misspelt task looks the same as one without."""
    if loaded is None or loaded.document is None or task is None:
        return loaded
    own = loaded.document.by_task
    if task not in own:
        say(f"the cascade for all tasks serves '{task}'; tasks with one of their own: {', '.join(own) or 'none'}")
    return replace(loaded, task=task)


def _stream(decoder: Decoder, prompt_ids: list[int], **request: Any) -> Generation:
    from casspec.runtime.text.detokenize import TextStream

    stream = TextStream(decoder.target.tokenizer, prompt_ids)
    try:
        return decoder.generate(
            prompt_ids, on_tokens=lambda tokens: click.echo(stream.push(tokens), nl=False), **request
        )
    finally:
        click.echo(stream.finish())


def _print_statistics(statistics: Statistics) -> None:
    seconds = statistics.decode_ms / 1e3
    rate = statistics.emitted_tokens / seconds if seconds else 0.0
    say(
        f"{statistics.method}: {statistics.emitted_tokens} tokens in {seconds:.2f} s ({rate:.1f} tokens/s), "
        f"{statistics.verify_steps} verify steps, mean acceptance length {statistics.mean_acceptance_length:.2f}"
    )
    say(
        f"prefill {statistics.prefill_ms:.1f} ms, draft {statistics.draft_ms:.1f} ms, verify {statistics.verify_ms:.1f} ms, "
        f"overhead {statistics.overhead_ms:.1f} ms"
    )
    for name, rate in sorted(statistics.acceptance_by_drafter.items()):
        say(f"{name}: {statistics.accepted_by[name]} of {statistics.drafted_by[name]} accepted ({rate:.0%})")
    lengths = " ".join(f"{length}:{count}" for length, count in sorted(statistics.accepted_lengths.items()))
    if lengths:
        say(f"tokens a step: {lengths}")
