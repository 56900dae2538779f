"""Recorded requests, asked again at the pace they came: a file of OpenAI's batch format with arrival times, as `casspec serve` records."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from casspec.storage.errors import SuiteError
from casspec.tuner.engines.asked import CHAT, COMPLETIONS, STREAMED
from casspec.tuner.engines.endpoint import Asked


def is_traffic(path: Path) -> bool:
    """Whether a file's first line is a recorded request."""
    try:
        with path.open("rb") as file:
            return _arrival(json.loads(file.readline())) is not None
    except (OSError, ValueError):
        return False


def recorded_requests(path: Path, model: str, speed: float = 1.0, most: int | None = None) -> list[Asked]:
    """Requests in the order they came, each after the time that passed since the first over `speed`.

    Answers are asked to be as long as they were: `max_tokens` is the recorded output where the request set none.

    Raises SuiteError, naming the line, for what is no recorded request.
    """
    found = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
            arrival = _arrival(row)
            body = dict(row["body"])
            asked = Asked(row["url"], body | {"model": model, **STREAMED}, float(arrival or 0.0))
        except (ValueError, LookupError, TypeError):
            raise SuiteError(
                f"{path}, line {number} is no recorded request: expected one of `casspec serve --record-traffic`"
            ) from None
        if arrival is None or asked.path not in (CHAT, COMPLETIONS):
            raise SuiteError(f"{path}, line {number} has no arrival time or another path than {CHAT} and {COMPLETIONS}")
        if not body.keys() & {"max_tokens", "max_completion_tokens"}:
            asked = replace(
                asked, body={**asked.body, "max_tokens": max(1, int(row["casspec"].get("output_tokens") or 1))}
            )
        found.append(asked)
    if not found:
        raise SuiteError(f"{path} holds no request")
    found.sort(key=lambda each: each.after_s or 0.0)
    first = found[0].after_s or 0.0
    return [replace(each, after_s=((each.after_s or 0.0) - first) / speed) for each in found[:most]]


def _arrival(row: Any) -> float | None:
    about = row.get("casspec") if isinstance(row, dict) else None
    arrived = about.get("arrived_at") if isinstance(about, dict) else None
    return float(arrived) if isinstance(arrived, int | float) else None
