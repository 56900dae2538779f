"""A drift says what no longer fits, and what to run."""

from __future__ import annotations

from casspec.runtime.watch.drift import Drift, share


def test_a_line_has_both_figures() -> None:
    assert Drift("acceptance", "int4", None, 0.8149, 0.95).says == (
        "the profile no longer fits: acceptance of int4 .81, calibrated .95"
    )
    assert Drift("acceptance", "int4", "greedy", 0.81, 0.95).says.endswith(".95 in greedy decoding")
    assert Drift("latency", "target", None, 1.43, 1.0).says == (
        "the profile no longer fits: forwards of target take 1.4 times as long as predicted"
    )


def test_what_to_run_can_be_pasted_into_a_shell() -> None:
    worse = Drift("acceptance", "int4", "sample", 0.81, 0.95)
    assert worse.remedy("my model", "/tmp/a b.jsonl") == "casspec calibrate 'my model' --suite '/tmp/a b.jsonl'"
    assert (
        worse.remedy("smollm2", None, ("--dtype", "float32"))
        == "casspec calibrate smollm2 --dtype float32 --suite FILE"
    )
    assert worse.remedy("smollm2", None) == "casspec calibrate smollm2 --suite FILE"
    assert Drift("latency", "target", None, 1.4, 1.0).remedy("smollm2", "a.jsonl") == "casspec calibrate smollm2"


def test_shares_have_two_digits() -> None:
    assert [share(value) for value in (0.0, 0.812, 0.999, 1.0)] == [".00", ".81", "1.00", "1.00"]
