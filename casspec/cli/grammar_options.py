"""Options of commands that decode text: what the text has to be. A grammar is read and made ready before the first token."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from casspec.runtime.model.target import TargetModel
    from casspec.runtime.text.grammar import Grammar

Function = TypeVar("Function", bound=Callable[..., Any])

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

_OPTIONS = (
    click.option("--json-schema", type=_FILE, metavar="FILE", help="The text is JSON that this schema describes."),
    click.option("--regex", metavar="PATTERN", help="The text matches this regular expression, all of it."),
    click.option(
        "--grammar",
        type=_FILE,
        metavar="FILE",
        help="The text follows this grammar: Lark, or GBNF in a file called *.gbnf.",
    ),
)


def grammar_options(function: Function) -> Function:
    """Adds all of them."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def asked_grammar(given: dict[str, Any]) -> Grammar | None:
    """Takes them out of a command's options. Raises UsageError for more than one of them, and for a file that holds no text or JSON."""
    schema, regex, file = given.pop("json_schema"), given.pop("regex"), given.pop("grammar")
    if sum(one is not None for one in (schema, regex, file)) > 1:
        raise click.UsageError("a text follows one of --json-schema, --regex and --grammar; leave out the others")
    if schema is None and regex is None and file is None:
        return None
    from casspec.runtime.text.grammar import Grammar

    if schema is not None:
        try:
            return Grammar.json_schema(json.loads(_text(schema)))
        except (ValueError, RecursionError) as error:
            raise click.UsageError(f"--json-schema {schema} holds no JSON: {error}") from None
    if regex is not None:
        return Grammar("regex", regex)
    return Grammar("gbnf" if file.suffix.lower() == ".gbnf" else "lark", _text(file))


def make_ready(grammar: Grammar | None, target: TargetModel) -> None:
    """Raises UnsupportedOption, before anything is decoded, for a grammar that cannot be honoured with this model."""
    if grammar is not None:
        from casspec.runtime.text.compiled_grammars import compiler_of

        compiler_of(target.tokenizer, target.vocab_size).check(grammar)


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise click.UsageError(f"{file} is no UTF-8 text ({error.reason} at byte {error.start})") from None
    except OSError as error:
        raise click.UsageError(f"{file} cannot be read: {error.strerror or error}") from None
