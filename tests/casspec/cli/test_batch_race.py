"""`casspec bench --batch`: a table, a last line of JSON, and refusals in a line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import casspec
from casspec.cli.main import main
from tests.tuner.text_generators import TEXTS, letters_target


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    target = letters_target()
    monkeypatch.setitem(vars(casspec), "load_target", lambda name, **where: target)
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join(json.dumps({"prompt": text}) + "\n" for _, text in TEXTS))
    return str(file)


def test_the_last_line_is_the_race_as_json(suite: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written = tmp_path / "race.json"
    words = ["bench", "letters", "--suite", suite, "--storage", str(tmp_path / "store.db"), "--max-new-tokens", "8"]
    words += ["--batch", "1,2", "--methods", "prompt-lookup", "--mode", "greedy", "--json", str(written)]
    assert main(words) == 0
    out = capsys.readouterr().out
    document = json.loads(out.splitlines()[-1])
    assert json.loads(written.read_text()) == document
    assert {(row["batch"], row["method"]) for row in document["rows"]} == {
        (batch, method) for batch in (1, 2) for method in ("autoregressive", "prompt-lookup", "transformers generate")
    }
    assert "transformers generate" in out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--batch", "two"], "takes numbers of texts, such as 1,2,4,8"),
        (["--batch", "0"], "takes numbers of texts"),
        (["--batch", "2", "--warm"], "leave out --check-lossless"),
    ],
)
def test_what_makes_no_sense_is_one_line(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "reference", *words]) == 2
    printed = capsys.readouterr()
    assert told in printed.err
    assert printed.err.count("\n") == 1
