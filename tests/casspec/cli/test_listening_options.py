"""Options of the commands that listen: their defaults, and amounts that are refused outside their bounds."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from casspec.cli.listening_options import amount_option, listening_options


@click.command()
@listening_options(8100, "Opens a door.")
@amount_option("--size-mib", 8.0, "Of a request.", most=1024)
@amount_option("--pause-seconds", 60.0, "Between two.", may_be_zero=True)
def listen(**values: object) -> None:
    click.echo(repr({name: str(value) if isinstance(value, Path) else value for name, value in values.items()}))


def run(*words: str, **environment: str) -> Result:
    return CliRunner().invoke(listen, words, env=environment)


def test_a_command_listens_to_this_machine_alone_unless_told() -> None:
    usual = {"host": "127.0.0.1", "port": 8100, "api_key": (), "api_key_file": None}
    assert eval(run().output) == {**usual, "size_mib": 8.0, "pause_seconds": 60.0}


def test_keys_come_from_options_a_file_or_the_environment() -> None:
    found = eval(run("--api-key", "a", "--api-key", "b", "--api-key-file", "keys.txt", "--port", "0").output)
    assert (found["api_key"], found["api_key_file"], found["port"]) == (("a", "b"), "keys.txt", 0)
    assert eval(run(CASSPEC_API_KEY="c").output)["api_key"] == ("c",)


def test_help_says_what_a_key_opens_and_what_an_amount_is_by_default() -> None:
    told = " ".join(run("--help").output.split())
    assert "Opens a door." in told
    assert "Of a request. [default: 8.0; 0<x<=1024]" in told
    assert "Between two. [default: 60.0; x>=0]" in told


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--size-mib", "0"), 2),
        (("--size-mib", "1024"), 0),
        (("--size-mib", "1025"), 2),
        (("--pause-seconds", "0"), 0),
        (("--pause-seconds", "-1"), 2),
        (("--port", "65536"), 2),
    ],
)
def test_an_amount_keeps_to_its_bounds(words: tuple[str, ...], code: int) -> None:
    assert run(*words).exit_code == code
