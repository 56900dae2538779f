"""The file that tells a proposer what was measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from casspec.engines.result import DraftingResult, LatencyPoint, read_result
from casspec.storage.errors import MalformedFile
from casspec.storage.schema import AcceptanceCell, AcceptancePrior


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    cells = (AcceptanceCell(key="engine:3", accepted=2, trials=5),)
    written = DraftingResult(
        latency=(LatencyPoint(batch=1, draft_tokens=0, milliseconds=27.5),),
        acceptance=AcceptancePrior(mode="greedy", cells=cells),
    )
    path = tmp_path / "result.json"
    path.write_text(written.canonical_json(), encoding="utf-8")
    assert read_result(str(path)) == written


@pytest.mark.parametrize("path", [None, ""])
def test_without_a_file_nothing_is_known(path: str | None) -> None:
    assert read_result(path) == DraftingResult()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "cannot be read"),
        ("{", "is no JSON"),
        ("[]", "is no result"),
        (json.dumps({"latency": [{"batch": 0, "draft_tokens": 1, "milliseconds": 3}]}), "latency.0.batch"),
        (json.dumps({"latency": [{"batch": 1, "draft_tokens": 1, "milliseconds": 0}]}), "latency.0.milliseconds"),
        (json.dumps({"schema_version": "99.0"}), "upgrade casspec"),
    ],
)
def test_a_file_that_is_no_result_is_one_line(tmp_path: Path, text: str | None, words: str) -> None:
    path = tmp_path / "result.json"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(MalformedFile) as caught:
        read_result(str(path))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
