"""`casspec bench`, run as a user runs it on a tiny model of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from casspec.cli.main import main
from casspec.runtime.fingerprint import device_fingerprint, model_fingerprint
from casspec.runtime.latency import builtin_latency
from casspec.runtime.loader import load_model
from casspec.storage import open_repository
from casspec.storage.schema import CascadeProfile, MethodSettings
from tests.storage import samples
from tests.tuner.contestants import TEXTS, library_model, tokenizer

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp("letters")
    library_model().save_pretrained(directory)
    tokenizer().save_pretrained(directory)
    return str(directory)


@pytest.fixture
def suite(tmp_path: Path) -> str:
    path = tmp_path / "suite.jsonl"
    rows = (
        {"question_id": place, "category": task, "turns": [text]} for place, (task, text) in enumerate(TEXTS + TEXTS)
    )
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


@pytest.fixture
def storage(tmp_path: Path) -> str:
    return str(tmp_path / "store.db")


@pytest.fixture
def run(model: str, suite: str, storage: str, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `casspec bench` on the tiny model: (exit code, stdout, stderr)."""

    def command(*words: str, model: str = model) -> tuple[int, str, str]:
        common = ("--suite", suite, "--storage", storage, "--threads", "1", "--max-new-tokens", "8")
        code = main(["bench", model, *common, *words])
        out, err = capsys.readouterr()
        return code, out, err

    return command


def stored_profile(model: str, storage: str, dtype: str = "float32") -> CascadeProfile:
    target = load_model(model, dtype=dtype)
    profile = samples.profile(
        model=model_fingerprint(target),
        device=device_fingerprint("cpu"),
        dtype=dtype,
        drafters=(),
        latency=builtin_latency(target),
        acceptance=(),
        methods=(MethodSettings(method="prompt-lookup", variant="tuned", parameters={"n_tokens": 3}),),
    )
    with open_repository(storage) as repository:
        return repository.save_profile(None, profile)


def document(out: str) -> dict[str, Any]:
    return json.loads(out.splitlines()[-1])


def test_the_table_ends_in_a_line_of_json_and_the_report_is_stored(run: Run, storage: str) -> None:
    code, out, err = run()
    assert code == 0
    assert "built-in priors" in err
    assert "noise" in err
    assert "greedy, overall" in out
    rows = document(out)["rows"]
    assert [row["method"] for row in rows if (row["mode"], row["task"]) == ("greedy", "overall")] == [
        "autoregressive",
        "prompt-lookup",
        "token-recycling",
        "layer-sparse",
        "dytc",
        "transformers",
        "transformers-prompt-lookup",
    ]
    with open_repository(storage) as repository:
        (report,) = repository.bench_reports()
    assert [row.model_dump(mode="json") for row in report.rows] == rows
    assert report.environment["suite"] == "suite"


def test_formats(run: Run) -> None:
    chosen = ("--methods", "prompt-lookup", "--mode", "sample")
    code, out, _ = run("--format", "json", *chosen)
    assert code == 0
    assert len(out.splitlines()) == 1
    assert {row["mode"] for row in document(out)["rows"]} == {"sample"}
    csv_lines = run("--format", "csv", *chosen)[1].splitlines()
    assert csv_lines[0].startswith("method,variant,task,mode")
    assert len(csv_lines) == 1 + 2 * 3 + 1
    markdown = run("--format", "markdown", *chosen)[1].splitlines()
    assert all(line.startswith("| ") for line in markdown[:-1])
    assert document("\n".join(markdown))["schema"] == 1


def test_a_stored_profile_adds_the_tuned_variants_and_keeps_the_report(run: Run, model: str, storage: str) -> None:
    profile = stored_profile(model, storage)
    code, out, err = run("--mode", "greedy", "--no-peers", "--prompts", "2")
    assert code == 0
    assert "built-in priors" not in err
    overall = [(row["method"], row["variant"]) for row in document(out)["rows"] if row["task"] == "overall"]
    assert overall == [
        ("autoregressive", "published"),
        ("prompt-lookup", "published"),
        ("prompt-lookup", "tuned"),
        ("token-recycling", "published"),
        ("layer-sparse", "published"),
        ("dytc", "tuned"),
    ]
    assert {row["n_prompts"] for row in document(out)["rows"]} == {1, 2}
    with open_repository(storage) as repository:
        assert len(repository.bench_reports(profile.profile_id)) == 1


def test_check_lossless_judges_in_float32_with_a_profile_of_any_precision(run: Run, model: str, storage: str) -> None:
    stored_profile(model, storage, dtype="bfloat16")
    code, out, _ = run("--check-lossless", "--tokens", "120")
    assert code == 0
    rows = document(out)["rows"]
    assert all(row["lossless"] and row["n_tokens"] == 120 for row in rows)
    assert ("prompt-lookup", "tuned", "sample") in [(row["method"], row["variant"], row["mode"]) for row in rows]
    assert document(out)["environment"]["dtype"] == "float32"
    assert len(out.splitlines()) == len(rows) + 3


def test_a_failed_check_is_a_failed_command(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from casspec.tuner import lossless_check

    monkeypatch.setattr(lossless_check, "is_lossless", lambda differences, n_tokens: False)
    code, out, _ = run("--check-lossless", "--tokens", "8", "--methods", "prompt-lookup")
    assert code == 1
    assert "NO" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--methods", "magic"), "unknown method 'magic'"),
        (("--max-new-tokens", "4000"), "no prompt leaves room"),
        (("--check-lossless", "--dtype", "bfloat16"), "float32"),
        (("--profile", "0123"), "no profile '0123'"),
        (("--suite", "missing.jsonl"), "no suite at 'missing.jsonl'"),
        (("--device", "tpu"), "is not a device"),
    ],
)
def test_mistakes_are_told_in_one_line(run: Run, words: tuple[str, ...], message: str) -> None:
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err
