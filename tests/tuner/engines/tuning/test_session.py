"""What all stages share."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from casspec.storage.engines.documents import PLAIN
from casspec.tuner.engines.asked import completion
from casspec.tuner.engines.endpoint import Asked
from casspec.tuner.engines.process import DoesNotStart, EngineFailed, NotReady
from casspec.tuner.engines.tuning.budget import Budget
from casspec.tuner.engines.tuning.session import ATTEMPTS, OutOfTime
from tests.tuner.engines.tuning.made_up import TOKENS, ngram, session


def test_a_drive_gives_figures_texts_and_what_the_engine_counted(fake_vllm: Path, tmp_path: Path) -> None:
    with session(tmp_path) as made, made.engine_with(ngram(), "to see") as instance:
        figures, texts = made.drive(instance, "a", made.workload.requests, 2, setting=ngram())
    assert (figures.requests, figures.tokens, figures.concurrency) == (3, 3 * TOKENS, 2)
    assert figures.setting == ngram()
    assert figures.acceptance_length is not None
    assert figures.acceptance_length > 2
    for request, text in zip(made.workload.requests, texts, strict=True):
        assert text.answer == (request.ids * TOKENS)[:TOKENS], "the fake repeats the prompt"


def test_a_prompt_that_comes_again_shares_no_prefix_with_itself(
    fake_vllm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[tuple[int, ...], str]] = []

    def noted(model: str, prompt: tuple[int, ...], n_tokens: int, fields: dict[str, Any]) -> Asked:
        asked.append((prompt, fields["cache_salt"]))
        return completion(model, prompt, n_tokens, fields)

    monkeypatch.setattr("casspec.tuner.engines.tuning.session.completion", noted)
    with session(tmp_path) as made, made.engine_with(PLAIN, "to see") as instance:
        for _ in range(2):
            made.drive(instance, "a", made.workload.at_least(6), 2)
    assert len(asked) == len(set(asked))
    assert len({salt for _, salt in asked[-6:]}) == 2, "different prompts may share what they have in common"


def test_a_start_that_hangs_ends_with_the_budget(
    fake_vllm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_VLLM", '{"hangs": true}')
    monkeypatch.setattr("casspec.tuner.engines.tuning.budget.GRACE_S", 0.3)
    began = time.monotonic()
    lines: list[str] = []
    with session(tmp_path, lines=lines) as made:
        made.budget = Budget(0.5)
        with pytest.raises(OutOfTime):
            made.persistently(lambda: made.engine_with(PLAIN, "to see").__enter__())
    assert lines == ["starting vllm: to see"]
    assert time.monotonic() - began < 60, "neither the longest start nor the fake's ten minutes are waited for"
    with session(tmp_path) as made:
        made.starter = replace(made.starter, ready_s=0.3)
        with pytest.raises(NotReady, match="did not answer in time"):
            made.engine_with(PLAIN, "to see").__enter__()


def test_asking_ends_with_the_budget(fake_vllm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_VLLM", '{"step_ms": 500}')
    monkeypatch.setattr("casspec.tuner.engines.tuning.budget.GRACE_S", 0.1)
    with session(tmp_path) as made:
        started = made.starter.started(PLAIN)
        with started as instance:
            made.budget = Budget(0.2)
            with pytest.raises(OutOfTime):
                made.drive(instance, "a", made.workload.requests, 1)
            made.budget = Budget(0.0)
            with pytest.raises(OutOfTime):
                made.drive(instance, "a", made.workload.requests, 1)


def test_an_engine_that_ends_while_it_is_asked_is_told_with_its_last_line(
    fake_vllm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_VLLM", '{"dies_after": 4}')
    with session(tmp_path) as made, made.engine_with(PLAIN, "to see") as instance:
        with pytest.raises(EngineFailed, match="RuntimeError: out of luck") as failure:
            made.drive(instance, "a", made.workload.requests, 2)
        assert not isinstance(failure.value, DoesNotStart)


def test_work_goes_on_after_an_end_and_not_after_a_refusal(fake_vllm: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    calls: list[int] = []

    def ends(times: int, failure: EngineFailed) -> None:
        calls.append(1)
        if len(calls) <= times:
            raise failure

    with session(tmp_path, lines=lines) as made:
        made.persistently(lambda: ends(ATTEMPTS - 1, EngineFailed("it was killed")))
        assert len(calls) == ATTEMPTS
        assert lines == ["it was killed; once more"] * (ATTEMPTS - 1)
        for failure, attempts in ((EngineFailed("again"), ATTEMPTS), (DoesNotStart("never"), 1)):
            calls.clear()
            with pytest.raises(EngineFailed, match=str(failure)):
                made.persistently(lambda failure=failure: ends(9, failure))  # type: ignore[misc]
            assert len(calls) == attempts


def test_a_setting_that_failed_is_remembered(fake_vllm: Path, tmp_path: Path) -> None:
    with session(tmp_path) as made:
        assert not made.has_failed(ngram())
        made.failed(ngram(), "no head")
        assert made.has_failed(ngram())
        assert not made.has_failed(ngram(1, 2, 3))
        assert [trial.reason for trial in made.store.trials(made.subject_hash)] == ["no head"] * 2
