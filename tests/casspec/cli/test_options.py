"""Shared options: what they accept, and that a missing device is refused in one line."""

from __future__ import annotations

from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner

from casspec.cli import options
from casspec.storage.errors import UnsupportedOption


@click.command()
@options.storage_option
@options.run_options
@options.seed_option
@options.format_option("table", "json")
def show(**values: object) -> None:
    click.echo(repr(values))


def parsed(*arguments: str, **environment: str) -> dict[str, object]:
    result = CliRunner().invoke(show, arguments, env=environment)
    assert result.exit_code == 0, result.output
    return eval(result.output)


def test_defaults() -> None:
    assert parsed() == {
        "storage": None,
        "device": "cpu",
        "dtype": "auto",
        "backend": "auto",
        "compiles": True,
        "threads": None,
        "seed": 0,
        "output_format": "table",
    }


def test_a_command_says_which_forwards_it_takes_where_nobody_does() -> None:
    @click.command()
    @options.compile_option_of(None, "as before")
    def take(**values: object) -> None:
        click.echo(repr(values))

    def taken(*words: str) -> str:
        return CliRunner().invoke(take, words).output

    assert [eval(taken(*words))["compiles"] for words in ((), ("--compile",), ("--no-compile",))] == [None, True, False]
    assert "[default: as before]" in " ".join(taken("--help").split())


def test_how_a_suite_is_taken_is_left_to_the_command_unless_it_is_named() -> None:
    @click.command()
    @options.suite_options("half of it is used", turns="all")
    def take(**values: object) -> None:
        click.echo(repr(values))

    def taken(*words: str) -> dict[str, object]:
        return eval(CliRunner().invoke(take, words).output)

    assert taken() == {"suite_name": None, "turns": None, "long": None, "strict": False}
    named = taken("--suite", "a.csv:b", "--turns", "first", "--long", "cut", "--strict")
    assert named == {"suite_name": "a.csv:b", "turns": "first", "long": "cut", "strict": True}
    told = " ".join(CliRunner().invoke(take, ["--help"]).output.split())
    assert "half of it is used" in told
    assert "recorded ones. [default: all]" in told
    assert CliRunner().invoke(take, ["--turns", "last"]).exit_code == 2


def test_storage_comes_from_the_environment_unless_named() -> None:
    assert parsed(CASSPEC_STORAGE="sqlite:///a.db")["storage"] == "sqlite:///a.db"
    assert parsed("--storage", "sqlite:///b.db", CASSPEC_STORAGE="sqlite:///a.db")["storage"] == "sqlite:///b.db"


@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:3"])
def test_devices_pass_as_they_are_spelt(device: str) -> None:
    assert parsed("--device", device)["device"] == device


@pytest.mark.parametrize(
    "arguments",
    [("--device", "gpu"), ("--device", "cuda:"), ("--dtype", "int8"), ("--threads", "0"), ("--format", "xml")],
)
def test_values_outside_the_choice_are_refused(arguments: tuple[str, str]) -> None:
    assert CliRunner().invoke(show, arguments).exit_code == 2


@pytest.mark.parametrize(("word", "value"), [("auto", "auto"), ("1", 1.0), ("12.5", 12.5)])
def test_seconds_are_a_number_or_follow_the_model(word: str, value: float | str) -> None:
    assert options.SecondsOrAuto().convert(word, None, None) == value


@pytest.mark.parametrize("word", ["0", "0.9", "-3", "nan", "inf", "long", ""])
def test_seconds_that_mean_nothing_are_refused_with_what_is_meant(word: str) -> None:
    with pytest.raises(click.BadParameter, match="neither auto nor a number of seconds from 1 on"):
        options.SecondsOrAuto().convert(word, None, None)


def fake_cuda(monkeypatch: pytest.MonkeyPatch, devices: int) -> None:
    torch = pytest.importorskip("torch")
    cuda = SimpleNamespace(is_available=lambda: devices > 0, device_count=lambda: devices)
    monkeypatch.setattr(torch, "cuda", cuda)


def test_cuda_without_a_device_is_refused_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cuda(monkeypatch, devices=0)
    with pytest.raises(UnsupportedOption, match="--device cpu"):
        options.check_device("cuda")


def test_an_index_past_the_last_device_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cuda(monkeypatch, devices=2)
    options.check_device("cuda:1")
    with pytest.raises(UnsupportedOption, match="below 2"):
        options.check_device("cuda:2")


def test_threads_named_are_the_threads_torch_computes_with() -> None:
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    try:
        assert options.apply_threads(2) == 2
        assert torch.get_num_threads() == 2
        assert options.apply_threads(None) == options.available_cores()
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("has_chat_template", "name"), [(True, "chat"), (False, "reference")])
def test_a_suite_nobody_named_follows_the_chat_template_and_is_told(has_chat_template, name, capsys) -> None:
    assert options.chosen_suite(None, has_chat_template) == name
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert f"suite '{name}'" in told
    assert "--suite" in told


def test_a_suite_that_was_named_is_taken_without_a_word(capsys) -> None:
    assert options.chosen_suite("my.jsonl", True) == "my.jsonl"
    assert capsys.readouterr().err == ""


def test_an_adapter_becomes_part_of_the_name_of_the_model_it_is_for() -> None:
    @click.command()
    @options.model_argument
    @click.option("--target")
    def take(**values: object) -> None:
        click.echo(repr(values))

    def taken(*words: str) -> dict[str, object]:
        return eval(CliRunner().invoke(take, words).output)

    assert taken("here") == {"model": "here", "target": None}
    assert taken("here", "--adapter", "lora")["model"] == "here + lora"
    assert taken("--adapter", "lora")["model"] == "reference + lora"
    assert taken("--target", "there", "--adapter", "lora") == {"model": "reference", "target": "there + lora"}


def test_an_adapter_without_a_model_is_a_mistake() -> None:
    @click.command()
    @options.adapter_option
    @click.option("--model")
    def take(**values: object) -> None:
        raise AssertionError(values)

    result = CliRunner().invoke(take, ["--adapter", "lora"])
    assert result.exit_code == 2
    assert "--adapter goes with a model" in result.output
