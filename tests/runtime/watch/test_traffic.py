"""Requests of a server become a suite that can be calibrated on."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from casspec.runtime.watch.traffic import RecordedRequest, TrafficRecorder, row
from casspec.runtime.watch.traffic_file import TrafficFile
from casspec.storage.errors import StorageError
from casspec.tuner.suites.load import load_suite
from casspec.tuner.suites.prompts import prompt_ids
from tests.tuner.text_generators import tokenizer

CHAT = [
    {"role": "system", "content": "be brief"},
    {"role": "user", "content": "abc"},
    {"role": "assistant", "content": "cba"},
    {"role": "user", "content": [{"type": "text", "text": "and now?"}]},
]


def asked(arrived_at: float = 1e9, **changes: Any) -> RecordedRequest:
    fields: dict[str, Any] = {"arrived_at": arrived_at, "output_tokens": 7, "messages": CHAT}
    return RecordedRequest(**fields | changes)


def recorded(path: Path, *requests: RecordedRequest, tokenizer: Any = None) -> list[dict[str, Any]]:
    recorder = TrafficRecorder(path, tokenizer=tokenizer)
    for request in requests:
        recorder.record(request)
    recorder.close()
    recorder.close()
    assert recorder.recorded + recorder.left_out == len(requests)
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_a_suite_is_read_of_what_was_recorded(tmp_path: Path) -> None:
    path = tmp_path / "traffic.jsonl"
    recorded(path, *[asked(messages=[{"role": "user", "content": f"say {n}"}]) for n in range(5)], asked(messages=CHAT))
    recorded(path, asked(messages=None, prompt="def f():\n"))
    suite = load_suite(path, strict=True)
    chat, completion = suite.prompts[5], suite.prompts[6]
    assert [prompt.turns for prompt in suite.prompts[:5]] == [(f"say {n}",) for n in range(5)]
    assert (chat.system, chat.turns, chat.answers) == ("be brief", ("abc", "and now?"), ("cba",))
    assert (completion.kind, completion.turns) == ("text", ("def f():\n",))
    assert {prompt.half for prompt in suite.prompts} == {"tuning", "reporting"}
    assert "7 prompts from OpenAI batch requests (JSONL)" in suite.notes[0]


def test_a_row_has_options_arrival_and_output_length_and_nothing_else(tmp_path: Path) -> None:
    options = {"temperature": 0.2, "max_tokens": 9, "top_p": None, "user": "somebody", "stream": True, "api_key": "k"}
    (found,) = recorded(tmp_path / "a", asked(1_234.5, options=options))
    assert found["body"] == {"messages": CHAT, "temperature": 0.2, "max_tokens": 9}
    assert found["casspec"] == {"traffic": 1, "arrived_at": 1234.5, "output_tokens": 7}
    assert found.keys() == {"custom_id", "method", "url", "body", "casspec"}
    assert (found["method"], found["url"]) == ("POST", "/v1/chat/completions")


def test_a_prompt_of_token_ids_is_read_again_as_the_same_ids(tmp_path: Path) -> None:
    letters = tokenizer()
    ids = list(letters("abc cab")["input_ids"])
    (found,) = recorded(tmp_path / "a", asked(messages=None, prompt=ids), tokenizer=letters)
    assert found["url"] == "/v1/completions"
    (prompt,) = load_suite(tmp_path / "a").prompts
    assert prompt_ids(prompt, letters) == ids


def test_a_token_that_the_tokenizer_puts_before_every_text_is_not_put_twice() -> None:
    class Beginning:
        """Letters by number; 1 stands before every text."""

        def __call__(self, text: str) -> dict[str, list[int]]:
            return {"input_ids": [1, *map(ord, text)]}

        def decode(self, ids: list[int], skip_special_tokens: bool) -> str:
            assert not skip_special_tokens
            return "".join("<s>" if each == 1 else chr(each) for each in ids)

    made = json.loads(row(asked(messages=None, prompt=[1, 97, 98]), Beginning()))
    assert made["body"]["prompt"] == "ab"
    made = json.loads(row(asked(messages=None, prompt=[97, 1, 98]), Beginning()))
    assert made["body"]["prompt"] == "a<s>b"


def test_what_cannot_be_recorded_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    requests = [
        asked(messages=None, prompt=[1, 2]),
        asked(options={"temperature": float("nan")}),
        asked(messages=[{"role": "user", "content": object()}]),
        asked(),
    ]
    with caplog.at_level(logging.WARNING, logger="casspec"):
        assert len(recorded(tmp_path / "a", *requests)) == 1
    assert len(caplog.messages) == 3


def test_a_recorder_says_what_it_keeps(tmp_path: Path) -> None:
    recorder = TrafficRecorder(tmp_path / "a", max_bytes=3 << 20)
    assert str(tmp_path / "a") in recorder.keeps
    assert "no answers" in recorder.keeps
    assert "3 MiB" in recorder.keeps
    recorder.close()


def test_nobody_waits_for_a_slow_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk_is_free, append = Event(), TrafficFile.append

    def slow(file: TrafficFile, lines: list[bytes]) -> int:
        disk_is_free.wait()
        return append(file, lines)

    monkeypatch.setattr(TrafficFile, "append", slow)
    monkeypatch.setattr("casspec.runtime.watch.traffic.MOST_WAITING", 50)
    recorder = TrafficRecorder(tmp_path / "a")
    for _ in range(500):
        recorder.record(asked())
    assert recorder.left_out >= 500 - 50 - 256
    disk_is_free.set()
    recorder.close()
    assert recorder.recorded + recorder.left_out == 500
    assert len((tmp_path / "a").read_bytes().splitlines()) == recorder.recorded


def test_serving_goes_on_where_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(file: TrafficFile, lines: list[bytes]) -> int:
        raise StorageError("cannot record to a: No space left on device")

    monkeypatch.setattr(TrafficFile, "append", full)
    recorder = TrafficRecorder(tmp_path / "a")
    with caplog.at_level(logging.WARNING, logger="casspec"):
        for _ in range(3):
            recorder.record(asked())
        recorder.close()
    assert (recorder.recorded, recorder.left_out) == (0, 3)
    assert caplog.messages == ["cannot record to a: No space left on device; no more requests are recorded"]


def test_a_file_of_somebody_elses_requests_is_not_written_to(tmp_path: Path) -> None:
    path = tmp_path / "batch.jsonl"
    path.write_text('{"custom_id":"a","body":{"messages":[]}}\n')
    with pytest.raises(StorageError, match="something else than recorded requests"):
        TrafficRecorder(path)
    path.write_bytes(b'{"custom_id":"1234')
    TrafficRecorder(path).close()
    assert path.read_bytes() == b""
