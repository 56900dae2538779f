"""The command from its options to its last line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from benchmarks.peers.__main__ import main, until_interrupted
from benchmarks.peers.engines import Engine
from benchmarks.peers.race import Race


@pytest.fixture(autouse=True)
def without_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Engine, "worker", Path(__file__).parent / "fake_worker.py")


def run(*options: str) -> Result:
    chosen = ("--model", "reference", "--suite", "reference", "--engines", "transformers,casspec")
    return CliRunner().invoke(main, [*chosen, "--prompts", "2", "--tokens", "20", "--rounds", "2", *options])


def test_the_last_line_is_json_and_the_document_is_written(tmp_path: Path) -> None:
    result = run("--long-prompt", "--relative-to", "casspec/bf16/dytc", "--output", str(tmp_path / "peers.md"))
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout.splitlines()[-1])
    assert [row["row"] for row in found["rows"]] == [
        "casspec/bf16/autoregressive",
        "casspec/bf16/dytc",
        "transformers/bf16/plain",
        "transformers/bf16/prompt-lookup",
    ]
    assert found["reference"] == "casspec/bf16/dytc"
    assert found["environment"]["prompts"] == 2
    assert all(row["agreement"] == 20 and row["long_first_ms"] is not None for row in found["rows"])
    assert "| casspec | bf16 | dytc |" in (tmp_path / "peers.md").read_text()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--engines", "nobody"), "no engine 'nobody'"),
        (("--model", "/nowhere"), "a directory with a config.json"),
        (("--suite", "/nowhere"), "no suite at"),
    ],
)
def test_a_wrong_option_is_one_line(options: tuple[str, ...], words: str) -> None:
    result = run(*options)
    assert result.exit_code != 0
    assert words in result.output
    assert "Traceback" not in result.output


def test_an_interruption_prints_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Race._ask

    def interrupted(race: Race, *words: object) -> None:
        if len(race.measurements) == 9:
            raise KeyboardInterrupt
        real(race, *words)  # type: ignore[arg-type]

    monkeypatch.setattr(Race, "_ask", interrupted)
    result = run()
    assert result.exit_code == 130
    found = json.loads(result.stdout.splitlines()[-1])
    assert found["environment"]["interrupted"]
    assert len(found["rows"]) == 4


def test_finished_work_was_not_interrupted() -> None:
    assert not until_interrupted(lambda: None)
