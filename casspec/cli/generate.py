"""`casspec generate`: decodes a prompt with a stored cascade and streams the text."""

from __future__ import annotations

import os
import sys
from typing import IO, TYPE_CHECKING, Any

import click

from casspec.cli.console import say
from casspec.cli.decoder import decoder_for, decoder_options
from casspec.cli.grammar_options import make_ready
from casspec.cli.interrupt import interruptible
from casspec.cli.options import set_up
from casspec.cli.request_options import (
    asked,
    parsed_arguments,
    request_options,
    system_option,
    template_argument_option,
)

if TYPE_CHECKING:
    from casspec.runtime.model.target import BackendChoice, TargetModel


@click.command()
@click.argument("prompt", required=False)
@click.option("--file", type=click.File(encoding="utf-8"), metavar="FILE", help="Read the prompt from a file.")
@click.option(
    "--batch",
    metavar="FILE",
    help="Decode every prompt of a file instead, many at a time; a line of JSON each as it ends.",
)
@click.option(
    "--max-batch", type=click.IntRange(min=1), metavar="N", help="With --batch: texts at a time.  [default: 32]"
)
@click.option(
    "--kv-cache-gib",
    type=click.FloatRange(min=0, min_open=True),
    metavar="G",
    help="With --batch: memory for caches; by default half of what is free.",
)
@click.option("--chat", is_flag=True, help="Put the prompt into the model's chat template, as a user's message.")
@system_option
@template_argument_option
@decoder_options
@request_options
@click.option("--stats", is_flag=True, help="Say on stderr what decoding did, how long it took and what it gained.")
def command(
    prompt: str | None,
    file: IO[str] | None,
    batch: str | None,
    max_batch: int | None,
    kv_cache_gib: float | None,
    chat: bool,
    system: str | None,
    template_arguments: tuple[str, ...],
    model: str,
    profile: str,
    method: str,
    task: str | None,
    device: str,
    dtype: str,
    backend: BackendChoice,
    compiles: bool,
    threads: int | None,
    stats: bool,
    storage: str | None,
    **options: Any,
) -> None:
    """Go on from PROMPT (or a file, or standard input with -) and print the new text as it comes.

    The text does not depend on method or profile: they change the speed only. Options that are not given come from the model's
    generation config.
    """
    if batch is None and (max_batch is not None or kv_cache_gib is not None):
        raise click.UsageError("--max-batch and --kv-cache-gib are of many prompts; name their file with --batch")
    if batch is not None and (prompt is not None or file is not None or chat or stats):
        raise click.UsageError(
            "--batch takes its prompts from a file, in the model's chat template where it has one: leave out PROMPT, --file, --chat "
            "and --stats"
        )
    text = "" if batch is not None else _prompt(prompt, file)
    request, arguments = asked(options), parsed_arguments(template_arguments)
    if not chat and (system is not None or arguments):
        raise click.UsageError("--system and --template-arg belong to the chat template; add --chat")
    set_up(device, threads)

    import casspec

    target = casspec.load_target(model, device=device, dtype=dtype, backend=backend, compiles=compiles)
    make_ready(request["grammar"], target)
    if batch is not None:
        from casspec.cli.batch_texts import generate_batch

        generate_batch(
            decoder_for(target, profile, method, task, storage), batch, request, max_batch or 32, kv_cache_gib
        )
        return
    prompt_ids = _chat_ids(target, text, system, arguments) if chat else _encode(target, text)
    decoder = decoder_for(target, profile, method, task, storage)
    with interruptible() as interruption:
        try:
            generation = decoder.generate(
                prompt_ids,
                on_text=lambda fresh: click.echo(fresh, nl=False),
                criteria=[interruption],
                **request,
            )
        finally:
            click.echo()
    if stats:
        from casspec.cli.text_statistics import print_defaults, print_statistics

        if request["defaults"]:
            print_defaults(decoder, request)
        print_statistics(decoder, generation, len(prompt_ids))
    if interruption.requested:
        raise KeyboardInterrupt


def _prompt(prompt: str | None, file: IO[str] | None) -> str:
    if (prompt is None) == (file is None):
        raise click.UsageError("give either a PROMPT, - for standard input, or --file FILE")
    try:
        if file is not None:
            return file.read()
        if prompt == "-":
            return sys.stdin.buffer.read().decode("utf-8")
        return os.fsencode(str(prompt)).decode("utf-8")
    except UnicodeDecodeError as error:
        raise click.UsageError(f"the prompt is no UTF-8 text ({error.reason} at byte {error.start})") from None


def _encode(target: TargetModel, text: str) -> list[int]:
    from casspec.runtime.text.chat import has_chat_template
    from casspec.storage.errors import UnsupportedOption

    if target.tokenizer is None:
        raise UnsupportedOption(f"model '{target.name}' brings no tokenizer, so it cannot go on from text")
    if has_chat_template(target.tokenizer):
        say("the model was made for conversations: --chat asks it as a user, without it it goes on from your text")
    tokens = target.tokenizer.encode(text)
    if not tokens and target.tokenizer.bos_token_id is not None:
        tokens = [target.tokenizer.bos_token_id]
    return tokens


def _chat_ids(target: TargetModel, text: str, system: str | None, arguments: dict[str, Any]) -> list[int]:
    from casspec.runtime.text.chat import chat_ids

    messages = [{"role": "user", "content": text}]
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    return chat_ids(target.tokenizer, messages, arguments)
