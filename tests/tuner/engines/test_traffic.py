"""Recorded requests, asked again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from casspec.runtime.watch.traffic import RecordedRequest, row
from casspec.storage.errors import SuiteError
from casspec.tuner.engines.traffic import is_traffic, recorded_requests


def recorded(file: Path, *requests: RecordedRequest) -> Path:
    file.write_bytes(b"".join(map(row, requests)))
    return file


def chat(arrived_at: float, **options: Any) -> RecordedRequest:
    return RecordedRequest(arrived_at, 7, messages=[{"role": "user", "content": "hi"}], options=options)


def test_requests_come_at_their_pace_with_their_options(tmp_path: Path) -> None:
    text = RecordedRequest(100.0, 5, prompt="once", options={"max_tokens": 9})
    file = recorded(tmp_path / "t.jsonl", chat(103.0, temperature=0.5), text)
    assert is_traffic(file)
    first, second = recorded_requests(file, "m", speed=2.0)
    assert (first.path, first.after_s, first.body["prompt"], first.body["max_tokens"]) == (
        "/v1/completions",
        0.0,
        "once",
        9,
    )
    assert (second.path, second.after_s) == ("/v1/chat/completions", 1.5)
    assert (second.body["model"], second.body["temperature"], second.body["stream"]) == ("m", 0.5, True)
    assert second.body["max_tokens"] == 7, "as long as the answer was"
    assert len(recorded_requests(file, "m", most=1)) == 1


def test_calls_of_an_earlier_answer_are_sent_as_clients_send_them(tmp_path: Path) -> None:
    def called(arguments: Any) -> dict[str, Any]:
        return {"id": "c", "type": "function", "function": {"name": "get", "arguments": arguments}}

    messages = [
        {"role": "user", "content": "a tree"},
        {"role": "assistant", "content": "", "tool_calls": [called({"tall": True}), called('{"tall": false}')]},
    ]
    file = recorded(tmp_path / "t.jsonl", RecordedRequest(1.0, 7, messages=messages))
    (found,) = recorded_requests(file, "m")
    first, second = found.body["messages"][1]["tool_calls"]
    assert json.loads(first["function"]["arguments"]) == {"tall": True}
    assert second == called('{"tall": false}')
    assert found.body["messages"][0] == messages[0]


def test_requests_to_responses_are_limited_and_streamed_as_they_take_it(tmp_path: Path) -> None:
    rows = [
        {"url": "/v1/responses", "body": {"input": "hi", **limit}, "casspec": {"arrived_at": 1.0, "output_tokens": 7}}
        for limit in ({}, {"max_output_tokens": 3})
    ]
    file = tmp_path / "t.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    first, second = recorded_requests(file, "m")
    assert (first.path, first.body) == (
        "/v1/responses",
        {"input": "hi", "max_output_tokens": 7, "model": "m", "stream": True},
    )
    assert second.body["max_output_tokens"] == 3


def test_several_answers_of_a_request_are_as_long_together(tmp_path: Path) -> None:
    (found,) = recorded_requests(recorded(tmp_path / "t.jsonl", chat(1.0, n=2)), "m")
    assert (found.body["n"], found.body["max_tokens"]) == (2, 4)


def test_what_is_no_recording_is_told_with_its_line(tmp_path: Path) -> None:
    file = recorded(tmp_path / "t.jsonl", chat(1.0))
    whole = file.read_text()
    without = json.dumps({name: value for name, value in json.loads(whole).items() if name != "casspec"})
    other = whole.replace("/v1/chat/completions", "/v1/embeddings").strip()
    for line, words in (
        ("{", "no recorded request"),
        (without, "no arrival time"),
        (other, "another path"),
        ("[]", "no recorded"),
    ):
        file.write_text(f"{whole}{line}\n")
        with pytest.raises(SuiteError, match=f"line 2 .*{words}"):
            recorded_requests(file, "m")
    file.write_text("")
    assert not is_traffic(file)
    assert not is_traffic(tmp_path)
    with pytest.raises(SuiteError, match="no request"):
        recorded_requests(file, "m")
