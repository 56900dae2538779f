"""The load test from its options to its last line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from benchmarks import serving
from benchmarks.load.field import Field
from benchmarks.load.servers import CONTENDERS, Contender
from benchmarks.serving import main
from casspec.model_names import directory_of
from tests.casspec.server.serving import TEMPLATE

FAKE = Path(__file__).parent / "load" / "fake_server.py"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled model's config and tokenizer, and a chat template."""
    source, folder = directory_of("reference"), tmp_path_factory.mktemp("model")
    assert source is not None
    for file in [source / "config.json", *source.glob("*token*")]:
        shutil.copy(file, folder)
    (folder / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    return folder


@pytest.fixture(autouse=True)
def without_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("casspec", "casspec-off"):
        fake = Contender(name, "casspec", "/ready", lambda python, port, setup: [str(python), str(FAKE), str(port)])
        monkeypatch.setitem(CONTENDERS, name, fake)


Run = Callable[..., Result]


@pytest.fixture
def run(model: Path) -> Run:
    chosen = ("--model", str(model), "--servers", "casspec,casspec-off")
    small = ("--tokens", "4", "--rounds", "2", "--loads", "1:1,2:4")
    return lambda *options: CliRunner().invoke(main, [*chosen, *small, *options])


def test_the_last_line_is_json_and_the_document_is_written(run: Run, tmp_path: Path) -> None:
    result = run("--output", str(tmp_path / "serving.md"))
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout.splitlines()[-1])
    rows = [(row["mode"], row["clients"], row["server"], row["requests"]) for row in found["rows"]]
    assert rows == [
        (mode, clients, server, requests)
        for mode in ("sample", "greedy")
        for clients, requests in ((1, 2), (2, 8))
        for server in ("casspec", "casspec-off")
    ]
    assert all(row["failed"] == row["short"] == 0 for row in found["rows"])
    assert "| 2 | casspec |" in (tmp_path / "serving.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--servers", "nobody"), "no server 'nobody'"),
        (("--loads", "4"), "CLIENTS:REQUESTS"),
        (("--loads", "4:2"), "every client needs a request"),
        (("--modes", "beam"), "expected some of sample,greedy"),
        (("--model", "reference"), "has no chat template"),
        (("--model", "/nowhere"), "a directory with a config.json"),
        (("--suite", "/nowhere"), "no suite at"),
    ],
)
def test_a_wrong_option_is_one_line(run: Run, options: tuple[str, ...], words: str) -> None:
    result = run(*options)
    assert result.exit_code != 0
    assert words in result.output
    assert "Traceback" not in result.output


def test_an_interruption_prints_what_was_measured(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Field._take

    def interrupted(field: Field, *words: object) -> None:
        if len(field.measurements) == 5:
            raise KeyboardInterrupt
        real(field, *words)  # type: ignore[arg-type]

    monkeypatch.setattr(Field, "_take", interrupted)
    result = run()
    assert result.exit_code == 130
    found = json.loads(result.stdout.splitlines()[-1])
    assert found["environment"]["interrupted"]
    assert len(found["rows"]) == 5


def test_a_generator_that_fails_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> None:
        raise serving.ServerFailed("guidellm: no network")

    monkeypatch.setattr(serving, "check", failing)
    result = run("--guidellm", str(FAKE), "--modes", "greedy")
    assert result.exit_code == 0, result.output
    assert "without casspec under guidellm: guidellm: no network" in result.output
