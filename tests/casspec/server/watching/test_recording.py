"""Requests that were answered are recorded as they were asked, and can be calibrated on; nothing of others is kept."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from casspec.server.watching.recording import recorded
from casspec.tuner.suites.load import load_suite
from tests.casspec.server.serving import serving, with_settings


def a_reply(n_tokens: list[int], is_whole: bool = True) -> Any:
    return SimpleNamespace(is_whole=is_whole, age_s=2.0, told=[SimpleNamespace(n_tokens=n) for n in n_tokens])


def test_each_prompt_is_a_row_with_the_length_of_its_own_texts() -> None:
    rows = recorded([{"prompt": "a"}, {"prompt": [1, 2]}], {"n": 2}, a_reply([1, 2, 30, 40]))
    assert [(row.prompt, row.output_tokens, row.options) for row in rows] == [
        ("a", 3, {"n": 2}),
        ([1, 2], 70, {"n": 2}),
    ]
    assert recorded([{"prompt": "a"}], {}, a_reply([5], is_whole=False)) == []


def test_what_was_asked_becomes_a_suite(tmp_path: Path) -> None:
    place = tmp_path / "traffic.jsonl"
    with serving(with_settings(record_traffic=place)) as served:
        client = served.client()
        messages: list[Any] = [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": [{"type": "text", "text": "a tree"}]},
        ]
        client.chat.completions.create(model="tiny", messages=messages, max_tokens=5, user="ann")
        list(client.completions.create(model="tiny", prompt=["def f():", "class A:"], max_tokens=3, stream=True))
        client.responses.create(model="tiny", input="what now", max_output_tokens=4)
        with pytest.raises(Exception, match="temperature"):
            client.completions.create(model="tiny", prompt="lost", temperature=-1)
        client.completions.create(model="tiny", prompt="left", max_tokens=300, stream=True).close()
        assert served.service.recorder is not None
        assert str(place) in served.service.recorder.keeps
    rows = [json.loads(line) for line in place.read_text("utf-8").splitlines()]
    assert [row["url"] for row in rows[:4]] == [
        "/v1/chat/completions",
        *["/v1/completions"] * 2,
        "/v1/chat/completions",
    ]
    assert [row["casspec"]["output_tokens"] for row in rows[:4]] == [5, 3, 3, 4]
    assert rows[0]["body"]["max_tokens"] == 5
    assert "ann" not in place.read_text("utf-8")
    assert "lost" not in place.read_text("utf-8")
    arrived = [row["casspec"]["arrived_at"] for row in rows]
    assert arrived == sorted(arrived)
    assert load_suite(str(place)).prompts


def test_nothing_is_recorded_unless_asked_for() -> None:
    with serving() as served:
        served.client().completions.create(model="tiny", prompt="x", max_tokens=2)
        assert served.service.recorder is None
