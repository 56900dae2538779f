"""Texts of the engine itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from casspec.storage.errors import EngineError
from casspec.tuner.engines.known.vllm import Vllm
from casspec.tuner.engines.process import DoesNotStart
from casspec.tuner.engines.tuning.written import plain_texts
from tests.tuner.engines.tuning.made_up import CONCURRENCY, TOKENS, session


def test_texts_are_written_once_and_kept(fake_vllm: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    with session(tmp_path, lines=lines) as made:
        texts, plain = plain_texts(made)
        assert [text.prompt_id for text in texts] == [request.id for request in made.workload.requests]
        assert {len(text.answer) for text in texts} == {TOKENS}
        assert sorted(plain) == list(CONCURRENCY)
        assert all(each.tokens == 3 * TOKENS and each.drafts is None for each in plain.values())
        lines.clear()
        assert plain_texts(made) == (texts, plain)
        assert lines == []


def test_more_requests_at_a_time_than_prompts_are_all_under_way(
    fake_vllm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_VLLM", json.dumps({"step_ms": 0.5, "request_ms": 0.1}))
    with session(tmp_path) as made:
        made.subject = made.subject.model_copy(update={"concurrency": (7,)})
        texts, plain = plain_texts(made)
        assert [text.prompt_id for text in texts] == [request.id for request in made.workload.requests]
    assert (plain[7].concurrency, plain[7].requests, plain[7].tokens) == (7, 9, 9 * TOKENS)


def test_an_engine_that_tells_no_token_ids_or_does_not_start_is_one_line(
    fake_vllm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with session(tmp_path) as made, monkeypatch.context() as patched:
        patched.setattr(Vllm, "answer_ids", lambda self, choice: None)
        with pytest.raises(EngineError, match="tells no token ids"):
            plain_texts(made)
    monkeypatch.setenv("FAKE_VLLM", '{"refuses": ["off"]}')
    with session(tmp_path, seed=1) as made, pytest.raises(DoesNotStart, match="ValueError: no model here"):
        plain_texts(made)
    monkeypatch.setenv("FAKE_VLLM", '{"no_metrics": true}')
    with session(tmp_path, seed=2) as made, pytest.raises(EngineError, match="has no /metrics"):
        plain_texts(made)
