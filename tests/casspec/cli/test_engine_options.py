"""Options about engines."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from casspec.cli.engine_options import Duration, concurrency_option, key_option


@click.command()
@concurrency_option("1,4", "Requests.")
@click.option("--budget", type=Duration(), default="30m")
@key_option
def show(**values: object) -> None:
    click.echo(repr(values))


def test_defaults_and_the_key_of_the_environment() -> None:
    done = CliRunner().invoke(show, [], env={"CASSPEC_ENGINE_KEY": "secret"})
    assert eval(done.output) == {"concurrency": (1, 4), "budget": 1800.0, "key": "secret"}


@pytest.mark.parametrize(("text", "seconds"), [("90", 90.0), ("90s", 90.0), ("1.5m", 90.0), ("2h", 7200.0)])
def test_times_have_units(text: str, seconds: float) -> None:
    assert eval(CliRunner().invoke(show, ["--budget", text]).output)["budget"] == seconds


def test_numbers_are_ascending_and_each_once() -> None:
    assert eval(CliRunner().invoke(show, ["--concurrency", "16, 1,4,4"]).output)["concurrency"] == (1, 4, 16)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--budget", "soon", "expected one like 90s"),
        ("--budget", "0m", "expected one like 90s"),
        ("--concurrency", "0", "numbers from 1 on"),
        ("--concurrency", "1,,2", "numbers from 1 on"),
        ("--concurrency", "many", "numbers from 1 on"),
    ],
)
def test_what_is_no_time_or_number_is_told(option: str, value: str, words: str) -> None:
    done = CliRunner().invoke(show, [option, value])
    assert done.exit_code == 2
    assert words in done.output
