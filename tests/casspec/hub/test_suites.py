from __future__ import annotations

import json
from pathlib import Path

import pytest

from casspec.hub.suites import keep_suite, keep_traffic, kept_suite
from casspec.storage.errors import SuiteError
from casspec.storage.repository import Repository

LINES = "".join(f'{{"question_id": {n}, "category": "a", "turns": ["Why {n}?"]}}\n' for n in range(4))


def test_prompts_are_kept_under_their_hash(repository: Repository, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    sha256 = keep_suite(repository, LINES)
    place, suite = kept_suite(repository, sha256)
    assert len(suite.prompts) == 4
    assert Path(place).read_text() == LINES
    assert kept_suite(repository, keep_suite(repository, LINES)) == (place, suite)


@pytest.mark.parametrize(
    "lines",
    [
        "",
        "no json",
        "[1, 2]",
        '{"neither": "prompt"}',
        "\0\1",
        "\ud800",
        "[" * 100_000,
        "1" * 100_000,
        "cos\nsystem\n(S'true'\ntR.",
    ],
)
def test_what_is_no_suite_is_refused_in_one_line(repository: Repository, lines: str) -> None:
    with pytest.raises(SuiteError) as told:
        keep_suite(repository, lines)
    assert "/tmp" not in str(told.value)


def test_prompts_that_are_not_there_are_told(repository: Repository) -> None:
    with pytest.raises(SuiteError, match="is not in the store"):
        kept_suite(repository, "0" * 64)


def test_of_recorded_requests_those_that_are_no_prompts_are_passed_over(
    repository: Repository, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    body = {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]}
    heard = json.dumps({"custom_id": "0", "method": "POST", "url": "/v1/chat/completions", "body": body})
    mixed = LINES + heard + "\n"
    with pytest.raises(SuiteError):
        keep_suite(repository, mixed)
    _, suite = kept_suite(repository, keep_traffic(repository, mixed))
    assert len(suite.prompts) == 4
    with pytest.raises(SuiteError, match="no reporting half"):
        keep_traffic(repository, LINES.splitlines()[0])
