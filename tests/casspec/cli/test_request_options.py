"""Options of a request as they are typed."""

from __future__ import annotations

from typing import Any

import click
import pytest
from click.testing import CliRunner

from casspec.cli.request_options import NAMES, asked, parsed_arguments, request_options
from casspec.runtime.text.request import OPTIONS


@click.command()
@request_options
def probe(**options: Any) -> None:
    click.echo(repr(asked(options)))


def typed(*words: str) -> dict[str, Any]:
    done = CliRunner().invoke(probe, words)
    assert done.exit_code == 0, done.output
    return dict(eval(done.output))


def test_every_option_is_one_of_a_request() -> None:
    assert set(NAMES) <= OPTIONS
    assert set(typed()) == {*NAMES, "grammar", "defaults"}


def test_what_is_not_typed_is_left_to_the_model() -> None:
    options = typed()
    assert {name for name, value in options.items() if value is not None} == {"seed", "defaults"}
    assert typed("--defaults", "none")["defaults"] is None
    options = typed("--stop", "a", "--stop", "b", "--min-p", "0.1", "--ignore-eos")
    assert (options["stop"], options["min_p"], options["ignore_eos"]) == (("a", "b"), 0.1, True)


def test_template_arguments_are_json_or_text() -> None:
    assert parsed_arguments(("thinking=false", "depth=3", "style=plain words")) == {
        "thinking": False,
        "depth": 3,
        "style": "plain words",
    }
    for wrong in ("thinking", "1a=3"):
        with pytest.raises(click.UsageError, match="NAME=VALUE"):
            parsed_arguments((wrong,))
