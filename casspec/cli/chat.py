"""`casspec chat`: a conversation with a model in the terminal."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

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
    from casspec.runtime.decode import Decoder
    from casspec.runtime.model.target import BackendChoice

LONGEST_REPLY = 1024
"""Tokens of a reply where nobody says how many."""

HELP = "/reset forgets the conversation, /exit or Ctrl-D leaves, Ctrl-C ends a reply"


@click.command()
@system_option
@template_argument_option
@decoder_options
@request_options
def command(
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
    storage: str | None,
    **options: Any,
) -> None:
    """Talk with a chat model: a line is a message, /reset forgets the conversation, /exit leaves.

    Ctrl-C ends a reply and not the session. Options that are not given come from the model's generation config.
    """
    request, arguments = asked(options), parsed_arguments(template_arguments)
    set_up(device, threads)

    import casspec
    from casspec.runtime.text.chat import has_chat_template
    from casspec.storage.errors import UnsupportedOption

    target = casspec.load_target(model, device=device, dtype=dtype, backend=backend, compiles=compiles)
    if not has_chat_template(target.tokenizer):
        raise UnsupportedOption(
            f"model '{target.name}' brings no chat template; `casspec generate` goes on from a text"
        )
    make_ready(request["grammar"], target)
    decoder = decoder_for(target, profile, method, task, storage).with_memory()
    conversation = Conversation(decoder, request, system, arguments)
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  (input() edits lines with it)
    say(HELP)
    talk(conversation, input if sys.stdin.isatty() else _piped)


@dataclass
class Conversation:
    """What was said so far, and how replies are decoded.

    Args:
        request: options of `Decoder.generate`. arguments: of the chat template.
    """

    decoder: Decoder
    request: dict[str, Any]
    system: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    messages: list[dict[str, str]] = field(default_factory=list)

    def reset(self) -> None:
        """Forgets it."""
        self.messages.clear()

    def reply(self, said: str) -> None:
        """Prints the reply to a message as it comes, then how fast it came. A message that cannot be answered is forgotten.

        Raises ContextOverflow and UnsupportedOption as decoding and templates do.
        """
        from casspec.runtime.text.chat import chat_ids

        system = [] if self.system is None else [{"role": "system", "content": self.system}]
        messages = [*self.messages, {"role": "user", "content": said}]
        prompt = chat_ids(self.decoder.target.tokenizer, [*system, *messages], self.arguments)
        with interruptible() as interruption:
            generation = self.decoder.generate(
                prompt,
                on_text=lambda fresh: click.echo(fresh, nl=False),
                criteria=[interruption],
                **self._options(),
            )
        click.echo()
        statistics = generation.statistics
        seconds = statistics.decode_ms / 1e3
        rate = statistics.emitted_tokens / seconds if seconds else 0.0
        ended = ", interrupted" if interruption.requested else ", cut" if generation.finish_reason == "length" else ""
        say(f"[{statistics.emitted_tokens} tokens, {rate:.1f} tokens/s{ended}]")
        self.messages = [*messages, {"role": "assistant", "content": generation.text or ""}]
        if interruption.is_final:
            raise KeyboardInterrupt

    def _options(self) -> dict[str, Any]:
        from casspec.runtime.loading.generation_defaults import model_defaults

        own = model_defaults(self.decoder.target).options if self.request["defaults"] else {}
        most = own.get("max_new_tokens", LONGEST_REPLY)
        asked = self.request["max_new_tokens"]
        return {**self.request, "max_new_tokens": most if asked is None else asked}


def talk(conversation: Conversation, read: Callable[[str], str]) -> None:
    """Until the input ends or somebody leaves.

    Args:
        read: gives the next line for a prompt; EOFError after the last.
    """
    from casspec.storage.errors import CasspecError

    while True:
        try:
            said = read("> ").strip()
        except EOFError:
            return
        except KeyboardInterrupt:
            click.echo()
            continue
        if said in ("/exit", "/quit"):
            return
        if said == "/reset":
            conversation.reset()
            say("the conversation is forgotten")
        elif said.startswith("/"):
            say(HELP)
        elif said:
            try:
                conversation.reply(said)
            except CasspecError as error:
                say(f"error: {error}; /reset begins a new conversation")


def _piped(prompt: str) -> str:
    """The next line of standard input, which nobody types."""
    line = sys.stdin.buffer.readline()
    if not line:
        raise EOFError
    return line.decode("utf-8", errors="replace")
