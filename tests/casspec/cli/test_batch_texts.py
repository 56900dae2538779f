"""`casspec generate --batch`: every prompt of a file is the text it is alone, told in JSON as it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import casspec
from casspec.cli.main import main
from tests.tuner.text_generators import TEXTS, letters_target

TARGET = letters_target()


@pytest.fixture
def prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(vars(casspec), "load_target", lambda name, **where: TARGET)
    file = tmp_path / "prompts.jsonl"
    rows = [{"id": f"p{place}", "prompt": text} for place, (_, text) in enumerate(TEXTS)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("words", [["--temperature", "0"], ["--temperature", "0.8", "--seed", "3", "--max-batch", "2"]])
def test_every_prompt_is_the_text_it_is_alone(
    words: list[str], prompts: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["generate", "--batch", prompts, "--max-new-tokens", "20", "--profile", "none", *words]
    assert main([*asked, "--method", "dytc"]) == 0
    found = {line["id"]: line for line in lines(capsys)}
    options = {"temperature": float(words[1]), "seed": 3 if "--seed" in words else 0}
    decoder = casspec.Decoder(TARGET, method="autoregressive")
    for place, (_, text) in enumerate(TEXTS):
        ids = TARGET.tokenizer.encode(text)
        expected = decoder.generate(ids, 20, **options)  # type: ignore[arg-type]
        line = found[f"p{place}"]
        assert line["text"] == expected.text
        assert (line["prompt_tokens"], line["tokens"]) == (len(ids), len(expected.token_ids))
        assert line["finish_reason"] == expected.finish_reason


def test_a_prompt_that_does_not_fit_is_told_and_the_others_go_on(
    prompts: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with Path(prompts).open("a") as file:
        file.write(json.dumps({"id": "long", "prompt": "a" * 400}) + "\n")
    assert main(["generate", "--batch", prompts, "--max-new-tokens", "4", "--profile", "none"]) == 2
    printed = capsys.readouterr()
    found = {line["id"]: line for line in map(json.loads, printed.out.splitlines())}
    assert "shorten the prompt" in str(found["long"]["error"])
    assert f"1 of {len(TEXTS) + 1} prompts failed" in printed.err
    assert all(found[f"p{place}"]["tokens"] for place in range(len(TEXTS)))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--batch", "FILE", "a prompt"], "takes its prompts from a file"),
        (["--batch", "FILE", "--stats"], "takes its prompts from a file"),
        (["a prompt", "--max-batch", "4"], "name their file with --batch"),
        (["--batch", "/nowhere.jsonl"], "no suite at '/nowhere.jsonl'"),
    ],
)
def test_what_makes_no_sense_is_one_line(
    words: list[str], told: str, prompts: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", "--profile", "none", *[prompts if word == "FILE" else word for word in words]]) == 2
    assert told in capsys.readouterr().err
