"""Grammars as they are typed, and what commands make of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest

import casspec
from casspec.cli.grammar_options import asked_grammar, make_ready
from casspec.cli.main import main
from casspec.runtime.text.grammar import Grammar
from casspec.storage.errors import UnsupportedOption

SCHEMA = {
    "type": "object",
    "properties": {"tall": {"type": "boolean"}},
    "required": ["tall"],
    "additionalProperties": False,
}
PROMPT = "def main(argv):\n    parser ="


@pytest.fixture
def reference(monkeypatch: pytest.MonkeyPatch) -> Any:
    target = casspec.load_target("reference")
    monkeypatch.setitem(vars(casspec), "load_target", lambda name, **where: target)
    return target


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    texts = {
        "schema.json": json.dumps(SCHEMA),
        "yes.lark": 'start: "yes" | "no"',
        "yes.gbnf": 'root ::= "yes" | "no"',
        "broken.json": "{",
        "broken.lark": "start: missing",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "latin.lark").write_bytes(b"start: \xe9")
    return {file.name: str(file) for file in tmp_path.iterdir()}


def given(**options: Any) -> dict[str, Any]:
    return {"json_schema": None, "regex": None, "grammar": None, **options}


def test_a_grammar_is_of_the_option_or_the_file_that_names_it(files: dict[str, str]) -> None:
    assert asked_grammar(given()) is None
    assert asked_grammar(given(regex="[ab]+")) == Grammar("regex", "[ab]+")
    assert asked_grammar(given(json_schema=Path(files["schema.json"]))) == Grammar.json_schema(SCHEMA)
    assert asked_grammar(given(grammar=Path(files["yes.lark"]))) == Grammar("lark", 'start: "yes" | "no"')
    assert asked_grammar(given(grammar=Path(files["yes.gbnf"]))) == Grammar("gbnf", 'root ::= "yes" | "no"')


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"regex": "a", "grammar": "yes.lark"}, "one of --json-schema, --regex and --grammar"),
        ({"json_schema": "broken.json"}, "holds no JSON"),
        ({"grammar": "latin.lark"}, "no UTF-8 text"),
    ],
)
def test_what_is_no_grammar_is_a_mistake_of_usage(files: dict[str, str], options: dict[str, str], says: str) -> None:
    paths = {name: Path(files[value]) if value in files else value for name, value in options.items()}
    with pytest.raises(click.UsageError, match=says):
        asked_grammar(given(**paths))


def test_a_grammar_that_cannot_be_honoured_is_refused_before_any_text(reference: Any) -> None:
    make_ready(None, reference)
    make_ready(Grammar("regex", "a+"), reference)
    with pytest.raises(UnsupportedOption, match="cannot be honoured"):
        make_ready(Grammar("lark", "start: missing"), reference)


def generated(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(["generate", *words, "--profile", "none", "--threads", "1", "--max-new-tokens", "40"])
    return code, *capsys.readouterr()


@pytest.mark.parametrize("method", ["autoregressive", "dytc"])
def test_a_text_is_what_was_asked_for(
    reference: Any, files: dict[str, str], method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = generated(capsys, PROMPT, "--json-schema", files["schema.json"], "--method", method)
    assert code == 0
    assert list(json.loads(out)) == ["tall"]
    for words in (["--grammar", files["yes.lark"]], ["--grammar", files["yes.gbnf"]], ["--regex", "yes|no"]):
        code, out, _ = generated(capsys, PROMPT, *words, "--method", method)
        assert (code, out.strip() in ("yes", "no")) == (0, True)


def test_every_text_of_a_batch_follows_it(
    reference: Any, tmp_path: Path, files: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in ("a = ", "import ")))
    code, out, _ = generated(capsys, "--batch", str(prompts), "--regex", "yes|no", "--method", "autoregressive")
    assert code == 0
    assert all(json.loads(line)["text"] in ("yes", "no") for line in out.splitlines())


@pytest.mark.parametrize("words", [["--batch", "x.jsonl"], ["a prompt"]])
def test_a_broken_grammar_is_one_line(
    reference: Any, files: dict[str, str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = generated(capsys, *words, "--grammar", files["broken.lark"])
    assert (code, out) == (2, "")
    (line,) = [line for line in err.splitlines() if "cannot be honoured" in line]
    assert "lark grammar" in line
