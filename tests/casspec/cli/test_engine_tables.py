"""What is printed of engines."""

from __future__ import annotations

import json

import pytest
from rich.console import Console

from casspec.cli.engine_tables import (
    as_json,
    bench_json,
    bench_table,
    choices_table,
    print_result,
    results_json,
    results_table,
)
from casspec.storage.engines.documents import PLAIN, EngineResult
from casspec.tuner.engines.bench import Row
from casspec.tuner.engines.figures import Interval
from tests.storage.engines.test_documents import choice, result, subject


def printed(table: object) -> str:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def test_the_configuration_is_the_last_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_result(result(notes=("one note",)), "table")
    out, err = capsys.readouterr()
    assert json.loads(out.splitlines()[-1]) == result().configuration
    assert "ngram num_speculative_tokens=4" in out
    assert "one note" in err
    assert "min_p" in err
    print_result(result(configuration=None, configured=()), "table")
    assert capsys.readouterr().out.splitlines()[-1] == "off"


@pytest.mark.parametrize(
    ("dtype", "told"),
    [
        ("auto", "smollm2 on "),
        ("float16", "smollm2 in float16 on "),
        ("auto of small.gguf 0123456789ab", "smollm2 as small.gguf 0123456789ab on "),
        ("bfloat16 of folder 0123456789ab", "smollm2 as folder 0123456789ab in bfloat16 on "),
    ],
)
def test_the_form_of_the_model_is_told_where_it_is_not_its_own(
    dtype: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    served = subject(dtype=dtype)
    print_result(result(subject=served), "table")
    assert told.replace("smollm2", served.model.name) in capsys.readouterr().err


def test_json_is_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    print_result(result(), "json")
    assert EngineResult.model_validate_json(capsys.readouterr().out) == result()


def test_a_row_tells_gain_interval_and_prediction_and_of_none_only_its_speed() -> None:
    text = printed(choices_table([choice(1), choice(4, 1.0, PLAIN).model_copy(update={"predicted_gain": None})]))
    assert "1.30x" in text
    assert "1.20 to 1.40 (n=6)" in text
    assert "1.40x" in text
    assert "off" in text
    alone = choice().model_copy(update={"low": 0.0, "high": 1e9, "pairs": 1})
    assert "of one pair none" in printed(choices_table([alone]))


def test_results_are_listed_with_their_gains() -> None:
    text = printed(
        results_table(
            [("2026-01-02T03:04:05", result()), ("2026-01-01T00:00:00", result(configuration=None, configured=()))]
        )
    )
    assert "1.30x, 1.10x" in text
    assert "2026-01-02T03:04" in text
    assert "off" in text


def test_endpoints_stand_side_by_side() -> None:
    plain = Row("http://a", 4, 12, 0, 80.0, None, (100.0, 300.0), (20.0, 50.0), None, None)
    faster = Row("http://b", 4, 12, 1, 96.0, Interval(1.2, 1.1, 1.3, 3), (90.0, 280.0), None, 2.5, 0.6, "status 500")
    text = printed(bench_table([plain, faster]))
    for words in ("http://a", "80.0", "1.20x [1.10, 1.30]", "2.50", "60%"):
        assert words in text
    assert json.loads(bench_json([plain, faster]))[1]["versus"] == {"middle": 1.2, "low": 1.1, "high": 1.3, "n": 3}


def test_what_is_no_number_is_null_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    nan, infinite = float("nan"), float("inf")
    assert json.loads(as_json({"a": [nan, 1.5, (infinite, None)], "b": -infinite}), parse_constant=refuse) == {
        "a": [None, 1.5, [None, None]],
        "b": None,
    }
    row = Row("http://b", 4, 12, 1, 96.0, Interval(1.2, 0.0, infinite, 1), (90.0, nan), None, None, None)
    (told,) = json.loads(bench_json([row]), parse_constant=refuse)
    assert told["versus"] == {"middle": 1.2, "low": 0.0, "high": None, "n": 1}
    assert told["first_token_ms"] == [90.0, None]
    assert "1.20x (n=1)" in printed(bench_table([row]))
    odd = result(choices=(choice().model_copy(update={"predicted_gain": nan}),))
    print_result(odd, "json")
    shown = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert shown["choices"][0]["predicted_gain"] is None
    (listed,) = json.loads(results_json([("2026-01-02T03:04:05", odd)]), parse_constant=refuse)
    assert (listed["id"], listed["saved_at"]) == (odd.result_id, "2026-01-02T03:04:05")
    assert listed["result"] == shown
