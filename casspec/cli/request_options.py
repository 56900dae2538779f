"""Options of a request that commands share: how a text is sampled, what it may not say, where it ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

import click

from casspec.cli.grammar_options import asked_grammar, grammar_options
from casspec.cli.options import seed_option

Function = TypeVar("Function", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--max-new-tokens",
        type=click.IntRange(min=0),
        metavar="N",
        help="Most tokens of a text; by default what the model names, else 128, in a chat 1024.",
    ),
    click.option("--temperature", type=click.FloatRange(min=0), metavar="T", help="0 is greedy."),
    click.option("--top-k", type=click.IntRange(min=1), metavar="K", help="Sample from the K likeliest tokens."),
    click.option(
        "--top-p",
        type=click.FloatRange(min=0, max=1, min_open=True),
        metavar="P",
        help="Sample from the likeliest tokens that hold this probability together.",
    ),
    click.option(
        "--min-p",
        type=click.FloatRange(min=0, max=1),
        metavar="P",
        help="Leave out tokens less likely than P times the likeliest one.",
    ),
    click.option(
        "--typical-p",
        type=click.FloatRange(min=0, max=1, min_open=True),
        metavar="P",
        help="Sample from the most typical tokens that hold this probability together.",
    ),
    click.option(
        "--repetition-penalty",
        type=click.FloatRange(min=0, min_open=True),
        metavar="R",
        help="Above 1, tokens of prompt and text become less likely.",
    ),
    click.option(
        "--frequency-penalty", type=float, metavar="F", help="Taken off a token's logit each time it was emitted."
    ),
    click.option("--presence-penalty", type=float, metavar="F", help="Taken off once if it was emitted."),
    click.option("--min-new-tokens", type=click.IntRange(min=0), metavar="N", help="No end before so many tokens."),
    click.option("--stop", multiple=True, metavar="TEXT", help="End before this text; may be given several times."),
    click.option("--ignore-eos", is_flag=True, help="Go on after the model's own end tokens."),
    click.option(
        "--defaults",
        type=click.Choice(["model", "none"]),
        default="model",
        show_default=True,
        help="Where options that are not given come from: the model's generation config, or nowhere.",
    ),
    seed_option,
)

NAMES = (
    "max_new_tokens",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "typical_p",
    "repetition_penalty",
    "frequency_penalty",
    "presence_penalty",
    "min_new_tokens",
    "stop",
    "ignore_eos",
    "seed",
)


def request_options(function: Function) -> Function:
    """Adds all of them, those of grammars too."""
    function = grammar_options(function)
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def asked(given: dict[str, Any]) -> dict[str, Any]:
    """Takes the options of a request out of a command's, for `Decoder.generate`. Raises UsageError as `asked_grammar` does."""
    options = {name: given.pop(name) for name in NAMES}
    options["stop"] = options["stop"] or None
    options["ignore_eos"] = options["ignore_eos"] or None
    options["grammar"] = asked_grammar(given)
    options["defaults"] = "model" if given.pop("defaults") == "model" else None
    return options


template_argument_option = click.option(
    "--template-arg",
    "template_arguments",
    multiple=True,
    metavar="NAME=VALUE",
    help="An argument of the chat template, its value JSON or else text; may be given several times.",
)

system_option = click.option("--system", metavar="TEXT", help="A system message before the conversation.")


def parsed_arguments(pairs: tuple[str, ...]) -> dict[str, Any]:
    """Template arguments by name. Raises UsageError for one without a name or value."""
    arguments = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator or not name.isidentifier():
            raise click.UsageError(f"--template-arg takes NAME=VALUE, not {pair!r}")
        try:
            arguments[name] = json.loads(value)
        except ValueError:
            arguments[name] = value
    return arguments
