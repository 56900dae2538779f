"""What guidellm is told and what it says."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.load.asked import Turn, body
from benchmarks.load.guidellm import check, read, scenario
from benchmarks.load.servers import Server, ServerFailed
from casspec.tuner.suites.load import load_suite

PROMPTS = load_suite("chat").half("reporting")[:3]
TURN = Turn("sample", 2, 1, tuple(body(prompt, 100_000 + n, "sample", 6) for n, prompt in enumerate(PROMPTS)))


def summary(p50: float, p99: float, count: int = 3, total: float = 0.0) -> dict[str, Any]:
    return {"successful": {"count": count, "total_sum": total, "percentiles": {"p50": p50, "p99": p99}}}


def told(count: int = 3) -> dict[str, Any]:
    metrics = {
        "request_totals": {"total": 3, "errored": 3 - count, "incomplete": 0},
        "output_token_count": summary(6, 6, count, 6.0 * count),
        "time_to_first_token_ms": summary(20, 30, count),
        "inter_token_latency_ms": summary(4, 9, count),
    }
    return {"start_time": 100.0, "end_time": 102.0, "metrics": metrics}


def test_it_asks_the_same_conversations_with_the_same_sampling(tmp_path: Path) -> None:
    spec = scenario(TURN, "http://here", tmp_path, Path("/m"))["spec"]
    rows = [json.loads(line) for line in Path(spec["data"][0]["path"]).read_text("utf-8").splitlines()]
    assert [row["prompt"] for row in rows] == [prompt.text for prompt in PROMPTS]
    assert {row["output_tokens_count"] for row in rows} == {6}
    sampling = spec["backend"]["extras"]["body"]
    assert sampling["temperature"] == 0.7
    assert not {"seed", "messages", "max_tokens"} & set(sampling)
    assert (spec["profile"]["streams"], spec["constraints"][0]["count"]) == ([2], 3)


def test_its_processor_time_is_that_while_it_asked() -> None:
    samples = [(99.0, 5.0), (100.0, 7.0), (101.0, 7.5), (102.0, 8.0), (103.0, 20.0)]
    found = read("casspec", 2, told(), samples)
    assert found.generator_cpu == pytest.approx(0.5)
    assert found.tokens_per_second == pytest.approx(9.0)
    assert found.first_token is not None
    assert found.first_token.p99 == 30


def test_failed_requests_are_counted_and_leave_no_latency() -> None:
    found = read("casspec", 2, told(count=0), [(100.0, 1.0)])
    assert (found.failed, found.first_token, found.token) == (3, None, None)


def generator(tmp_path: Path, does: str) -> Path:
    """A command in guidellm's place."""
    command = tmp_path / "guidellm"
    place = "json.load(open(sys.argv[sys.argv.index('-c') + 1]))['spec']['outputs'][0]['path']"
    command.write_text(f"#!{sys.executable}\nimport json, sys\nplace = {place}\n{does}\n", encoding="utf-8")
    command.chmod(0o755)
    return command


@pytest.fixture
def server(port: int) -> Server:
    """The fixture's, not started by itself."""
    one = Server.__new__(Server)
    one.port = port
    return one


def test_a_run_is_read(tmp_path: Path, server: Server) -> None:
    does = f"sum(range(10**7))\njson.dump({{'benchmarks': [{told()!r}]}}, open(place, 'w'))"
    found = check(generator(tmp_path, does), "vllm", server, TURN, Path("/m"))
    assert (found.server, found.clients, found.requests) == ("vllm", 2, 3)


@pytest.mark.parametrize(("does", "words"), [("sys.exit('no such model')", "no such model"), ("", "printed nothing")])
def test_a_run_that_fails_says_why(tmp_path: Path, server: Server, does: str, words: str) -> None:
    with pytest.raises(ServerFailed, match=words):
        check(generator(tmp_path, does), "vllm", server, TURN, Path("/m"))
