"""The comparison inside vLLM: its figures, and a whole run against servers without a model."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from benchmarks import engine_proposer
from benchmarks.engine_proposer import (
    OTHERS,
    OURS,
    PLAIN,
    QUOTING,
    Timed,
    chosen_prompts,
    compared,
    importable,
    main,
    ngram,
    ours,
    ratio,
    verdict,
)
from benchmarks.load.servers import Contender, Setup
from casspec.model_names import directory_of
from tests.casspec.server.serving import TEMPLATE

FAKE = Path(__file__).parent / "load" / "fake_server.py"


def timed(server: str, prompt: str, token_ms: float, which: int = 1) -> Timed:
    return Timed(server, OTHERS, prompt, which, 10, token_ms, 20 * token_ms)


def test_a_ratio_is_of_summed_times_on_prompts_that_both_answered() -> None:
    rows = [timed(PLAIN, "a", 30.0), timed(OURS, "a", 10.0), timed(PLAIN, "b", 10.0), timed(OURS, "b", 10.0)]
    rows += [timed(PLAIN, "c", 900.0)]
    found = ratio(rows, OURS, PLAIN, OTHERS)
    assert found is not None
    assert found.value == pytest.approx(2.0)
    assert found.lower == pytest.approx(1.0)
    assert found.upper == pytest.approx(3.0)
    assert ratio(rows, OURS, PLAIN, QUOTING) is None


def test_of_rounds_the_median_counts() -> None:
    rows = [timed(PLAIN, "a", 20.0, which) for which in (1, 2, 3)]
    rows += [timed(OURS, "a", ms, which) for which, ms in enumerate((10.0, 10.0, 500.0))]
    found = ratio(rows, OURS, PLAIN, OTHERS)
    assert found is not None
    assert found.value == pytest.approx(2.0)


def told(*tokens: tuple[str, float, str, float]) -> list[dict[str, Any]]:
    """Tokens with their log probability, and the second likeliest."""
    return [
        {
            "token": token,
            "logprob": first,
            "top_logprobs": [{"token": token, "logprob": first}, {"token": other, "logprob": second}],
        }
        for token, first, other, second in tokens
    ]


def test_texts_that_part_tell_the_gap_there() -> None:
    plain = told(("a", -0.1, "b", -2.0), ("c", -0.7, "d", -0.8), ("e", -0.1, "f", -3.0))
    assert compared("p", plain, plain).parted_at is None
    near = compared("p", plain, told(("a", -0.1, "b", -2.0), ("d", -0.7, "c", -0.7)))
    assert near.parted_at == 1
    assert near.gap == pytest.approx(0.1)
    assert compared("p", plain, told(("x", -0.1, "b", -2.0))).gap == float("inf")
    assert compared("p", plain, plain[:2]).parted_at == 2
    assert "1 part, 1 of them" in verdict([near])


def test_settings_are_those_of_vllm() -> None:
    setup = Setup(Path("m"), 512, (0, 1))
    words = ngram(2, 5, 4).words(Path("python"), 1, setup)
    assert json.loads(words[-1]) == {
        "method": "ngram",
        "prompt_lookup_min": 2,
        "prompt_lookup_max": 5,
        "num_speculative_tokens": 4,
    }
    assert json.loads(ours(12).words(Path("python"), 1, setup)[-1])["method"] == "custom_class"


def test_another_interpreter_imports_this_casspec(tmp_path: Path) -> None:
    for _ in range(2):
        folder = importable(tmp_path / "links")
    script = "import casspec.engines.vllm as found; print(found.__file__)"
    environment = {"PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1", "PATH": ""}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()).is_relative_to(folder)


def test_prompts_are_of_both_groups_and_the_same_for_a_seed() -> None:
    chosen = chosen_prompts(3, 5, 1)
    assert sorted(group for group, _ in chosen) == [OTHERS] * 5 + [QUOTING] * 3
    assert chosen == chosen_prompts(3, 5, 1)
    assert {prompt.task for group, prompt in chosen if group == QUOTING} <= {"summarization", "rewrite"}


def test_a_run_ends_with_a_table_and_a_line_of_json(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source = directory_of("reference")
    assert source is not None
    for file in [source / "config.json", *source.glob("*token*")]:
        shutil.copy(file, tmp_path)
    (tmp_path / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("PYTHONPATH", "PYTHONSAFEPATH", "NUMBA_CACHE_DIR"):
        monkeypatch.setenv(name, "")

    def fake(name: str, setting: object) -> Contender:
        return Contender(name, "casspec", "/ready", lambda python, port, setup: [str(python), str(FAKE), str(port)])

    monkeypatch.setattr(engine_proposer, "speculative", fake)
    options = [
        "--model",
        str(tmp_path),
        "--ngram",
        "",
        "--quoting",
        "2",
        "--others",
        "2",
        "--tokens",
        "4",
        "--check",
        "0",
    ]
    result = CliRunner().invoke(main, options)
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout.splitlines()[-1])
    assert set(document["ratios"]) == {QUOTING, OTHERS}
    assert {row["server"] for row in document["requests"]} == {PLAIN, OURS}
    assert any(line.startswith("others") for line in result.stdout.splitlines())


@pytest.mark.parametrize(
    ("options", "words"),
    [(("--ngram", "2-5"), "MIN:MAX:TOKENS"), (("--model", "/nowhere"), "a directory with a config.json")],
)
def test_a_wrong_option_is_one_line(options: tuple[str, ...], words: str) -> None:
    result = CliRunner().invoke(main, options)
    assert result.exit_code != 0
    assert words in result.stderr
