"""`casspec engine`: endpoints compared, results listed and shown."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from casspec.cli.engine import _suite_turns
from casspec.cli.main import main
from casspec.runtime.watch.traffic import RecordedRequest, row
from casspec.storage import open_repository
from tests.storage.engines.test_documents import result, subject
from tests.tuner.engines.conftest import prompts_file, serve  # noqa: F401

Run = Callable[..., tuple[int, str, str]]
NGRAM = {"method": "ngram", "num_speculative_tokens": 6, "prompt_lookup_min": 1, "prompt_lookup_max": 3}
QUICK = ("--rounds", "2", "--concurrency", "1,2", "--tokens", "12")


def test_two_endpoints_answer_the_same_prompts(
    serve: Callable[..., str],  # noqa: F811
    prompts_file: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    urls = f"{serve()},{serve(NGRAM)}"
    assert main(["engine", "bench", urls, "--suite", str(prompts_file), *QUICK, "--format", "json"]) == 0
    out, err = capsys.readouterr()
    rows = json.loads(out)
    assert [row["concurrency"] for row in rows] == [1, 1, 2, 2]
    assert all(row["requests"] == 8 and row["failed"] == 0 for row in rows)
    assert rows[1]["acceptance_length"] > 1
    assert "some come again" in err


def test_what_warms_up_is_not_asked_again() -> None:
    turns = [turn.requests("model") for turn in _suite_turns("chat", (1, 4), 2, 3, 8, 0.0)]
    *counted, warming = [[each.body["messages"] for each in turn] for turn in turns]
    assert [len(turn) for turn in counted] == [3, 4, 3, 4]
    asked = [messages for turn in counted for messages in turn]
    assert len({json.dumps(each) for each in [*asked, *warming]}) == len(asked) + 1


def test_recorded_requests_are_asked_at_their_pace(
    serve: Callable[..., str],  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "traffic.jsonl"
    file.write_bytes(b"".join(row(RecordedRequest(at, 5, prompt="again and again")) for at in (10.0, 10.2)))
    assert main(["engine", "bench", serve(), "--suite", str(file), "--rounds", "1"]) == 0
    out, err = capsys.readouterr()
    assert "2 recorded requests over 0 s" in err
    assert "http://" in out


@pytest.mark.parametrize(
    ("urls", "words"),
    [
        ("nowhere", "is no URL"),
        ("http://127.0.0.1:1", "is not reached"),
        (",", "expected one URL"),
        ("http://a,http://b,http://c", "expected one URL"),
    ],
)
def test_wrong_urls_are_one_line(urls: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["engine", "bench", urls]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert words in err


def test_a_wrong_key_is_one_line(
    serve: Callable[..., str],  # noqa: F811
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = serve(key="secret")
    assert main(["engine", "bench", url, "--key", "guess"]) == 2
    assert "refuses the key" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("suite", "words"), [("no-such-suite", "no suite at"), ("empty.jsonl", "empty.jsonl"), ("broken.jsonl", "line 2")]
)
def test_a_suite_or_traffic_that_cannot_be_asked_is_one_line(
    serve: Callable[..., str],  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    suite: str,
    words: str,
) -> None:
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "broken.jsonl").write_bytes(row(RecordedRequest(1.0, 5, prompt="once")) + b"\xff\n")
    place = tmp_path / suite if suite.endswith(".jsonl") else suite
    assert main(["engine", "bench", serve(), "--suite", str(place)]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert words in err


def test_something_that_is_no_engine_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert main(["engine", "bench", f"http://127.0.0.1:{server.server_address[1]}"]) == 2
        server.shutdown()
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert "is this an engine's URL?" in error


def test_results_are_listed_and_shown(run: Run, storage: str) -> None:
    assert run("engine", "show")[0] == 2
    with open_repository(storage) as repository:
        repository.engines.begin(subject())
        kept = repository.engines.save_result(result())
    assert kept.result_id in run("engine", "list")[1]
    assert run("engine", "list", "--engine", "sglang")[1].count(kept.result_id) == 0
    (listed,) = json.loads(run("engine", "list", "--format", "json")[1])
    assert listed["id"] == kept.result_id
    code, out, _ = run("engine", "show", kept.result_id[:6])
    assert (code, json.loads(out.splitlines()[-1])) == (0, result().configuration)
    code, _, err = run("engine", "show", "zzz")
    assert (code, err.count("\n")) == (2, 1)
