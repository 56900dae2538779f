"""The same conversations asked by guidellm, a load generator that is not ours, and what it says.

Its inter-token latency counts all tokens after the first of a request, also those that came with the first: of a server that
sends several tokens at a time it is lower than ours (`client.py`).
"""

from __future__ import annotations

import bisect
import json
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.load.asked import Turn
from benchmarks.load.figures import Spot
from benchmarks.load.servers import Server, ServerFailed
from benchmarks.peers.engines import OFFLINE
from benchmarks.processes import usage
from casspec.tuner.engines.process import end_group

RUN_SECONDS = 600
END_SECONDS = 5
LOOK_SECONDS = 0.1
LEFT_TO_IT = ("messages", "max_tokens", "ignore_eos", "stream", "stream_options", "model")
"""Fields of a request that guidellm sets itself."""


@dataclass(frozen=True)
class Check:
    """A turn of one server, by guidellm's own words. Latencies in ms; None where no request succeeded.

    Attributes:
        generator_cpu: its processor time over wall time while it asked, without its start; 1 is one core.
    """

    server: str
    clients: int
    requests: int
    failed: int
    tokens_per_second: float
    first_token: Spot | None
    token: Spot | None
    generator_cpu: float


def check(command: Path, name: str, server: Server, turn: Turn, tokenizer: Path) -> Check:
    """Asks a turn of a server. Raises ServerFailed with the last line that guidellm said where it fails.

    Args:
        command: guidellm's own, in an environment of its own. tokenizer: directory of the model.
    """
    with tempfile.TemporaryDirectory() as kept:
        folder = Path(kept)
        (folder / "asked.json").write_text(json.dumps(scenario(turn, server.url, folder, tokenizer)), encoding="utf-8")
        samples = _run([str(command), "run", "-c", str(folder / "asked.json"), "--disable-console"], folder)
        told = json.loads((folder / "told.json").read_text("utf-8"))
    return read(name, turn.clients, told["benchmarks"][0], samples)


def scenario(turn: Turn, url: str, folder: Path, tokenizer: Path) -> dict[str, Any]:
    """What guidellm reads; the conversations are written beside it. All of a turn have the same sampling, and no seed."""
    rows = [
        {
            "system_prompt": body["messages"][0]["content"],
            "prompt": body["messages"][1]["content"],
            "output_tokens_count": body["max_tokens"],
        }
        for body in turn.bodies
    ]
    data = folder / "asked.jsonl"
    data.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    first = turn.bodies[0]
    sampling = {field: value for field, value in first.items() if field not in (*LEFT_TO_IT, "seed")}
    backend = {"kind": "openai_http", "target": url, "model": first["model"], "extras": {"body": sampling}}
    return {
        "spec": {
            "backend": backend,
            "profile": {"kind": "concurrent", "streams": [turn.clients]},
            "constraints": [{"kind": "max_requests", "count": len(rows)}],
            "tokenizer": {"kind": "huggingface_auto", "model": str(tokenizer)},
            "data": [{"kind": "json_file", "path": str(data)}],
            "outputs": [{"kind": "json", "path": str(folder / "told.json")}],
        }
    }


def read(name: str, clients: int, told: Mapping[str, Any], samples: Sequence[tuple[float, float]]) -> Check:
    """What a benchmark of guidellm's document says.

    Args:
        samples: seconds since the epoch and processor seconds until then.
    """
    metrics, totals = told["metrics"], told["metrics"]["request_totals"]
    seconds = told["end_time"] - told["start_time"]
    spent = _at(samples, told["end_time"]) - _at(samples, told["start_time"])
    return Check(
        name,
        clients,
        totals["total"],
        totals["errored"] + totals["incomplete"],
        metrics["output_token_count"]["successful"]["total_sum"] / seconds,
        _spot(metrics["time_to_first_token_ms"]["successful"]),
        _spot(metrics["inter_token_latency_ms"]["successful"]),
        spent / seconds,
    )


def _spot(summary: Mapping[str, Any]) -> Spot | None:
    return Spot(summary["percentiles"]["p50"], summary["percentiles"]["p99"]) if summary["count"] else None


def _at(samples: Sequence[tuple[float, float]], when: float) -> float:
    """Processor seconds at the first look from then on; 0 of a run that nobody could look at."""
    if not samples:
        return 0.0
    place = bisect.bisect_left(samples, (when, 0.0))
    return samples[min(place, len(samples) - 1)][1]


def _run(words: Sequence[str], folder: Path) -> list[tuple[float, float]]:
    """Runs guidellm and looks at its processor time meanwhile. Raises ServerFailed."""
    log = folder / "log"
    variables = {**os.environ, **OFFLINE, "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(folder / "cache")}
    samples: list[tuple[float, float]] = []
    with log.open("wb") as said:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=variables, start_new_session=True
        )
        over = threading.Event()

        def look() -> None:
            while True:
                samples.append((time.time(), usage(process).cpu_seconds))
                if over.wait(LOOK_SECONDS):
                    return

        looking = threading.Thread(target=look)
        looking.start()
        try:
            code = process.wait(RUN_SECONDS)
        except subprocess.TimeoutExpired:
            raise ServerFailed(f"guidellm took more than {RUN_SECONDS} s") from None
        finally:
            over.set()
            looking.join()
            end_group(process, END_SECONDS)
    lines = log.read_text("utf-8", errors="replace").strip().splitlines()
    if code or not (folder / "told.json").is_file():
        raise ServerFailed(f"guidellm: {lines[-1][:200] if lines else 'it printed nothing'}")
    return [(when, seconds) for when, seconds in samples if seconds > 0]  # an ended process has none
