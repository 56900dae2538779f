"""Counters as engines tell them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from casspec.storage.errors import EngineError
from casspec.tuner.engines.known.vllm import Vllm
from casspec.tuner.engines.metrics import Counters, read_counters
from casspec.tuner.engines.protocol import CounterNames

TEXT = """# HELP vllm:generation_tokens_total Number of generation tokens processed.
# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total{engine="0",model_name="a \\"b\\" {c}"} 1200.0
vllm:generation_tokens_total{engine="1",model_name="m"} 300.0
vllm:generation_tokens_created{engine="0"} 1.7e+09
vllm:spec_decode_num_drafts_total{engine="0"} 100.0
vllm:spec_decode_num_draft_tokens_total{engine="0"} 400.0 1764450000
vllm:spec_decode_num_accepted_tokens_total{engine="0"} 2.5e+02
vllm:spec_decode_num_accepted_tokens_per_pos_total{engine="0",position="1"} 60.0
vllm:spec_decode_num_accepted_tokens_per_pos_total{engine="0",position="0"} 90.0
vllm:spec_decode_num_accepted_tokens_per_pos_total{engine="1",position="0"} 5.0
vllm:odd{le="+Inf"} not-a-number
"""


def test_processes_of_an_engine_are_added_up() -> None:
    found = read_counters(TEXT, Vllm.counters)
    assert found == Counters(1500.0, 100.0, 400.0, 250.0, (95.0, 60.0))
    assert found.verifications == 1250.0


def test_an_engine_without_speculation_counts_no_drafts() -> None:
    found = read_counters("vllm:generation_tokens_total 7\n", Vllm.counters)
    assert found == Counters(7.0)
    assert found.verifications == 7.0


def test_what_came_meanwhile_is_the_difference() -> None:
    before, after = Counters(10.0, 2.0, 4.0, 3.0, (2.0,)), Counters(30.0, 6.0, 9.0, 7.0, (5.0, 1.0))
    assert after.since(before) == Counters(20.0, 4.0, 5.0, 4.0, (3.0, 1.0))
    assert Counters(30.0).since(Counters(10.0)) == Counters(20.0)


def test_metrics_of_something_else_are_refused() -> None:
    with pytest.raises(EngineError, match="another engine"):
        read_counters("process_cpu_seconds_total 3\n", Vllm.counters)


def test_what_is_told_late_is_nothing_before_and_what_is_not_counted_follows() -> None:
    names = CounterNames(generated="g_total", drafts="d_total", requests="r_total", is_late=True, path="/elsewhere")
    assert read_counters("other 3\n", names) == Counters(0.0)
    assert read_counters("g_total 10\nr_total 2\n", names) == Counters(10.0)
    assert read_counters("g_total 10\nd_total 3\nr_total 2\n", names) == Counters(10.0, 3.0, None, 5.0)
    with pytest.raises(EngineError, match="/elsewhere tells no g_total"):
        read_counters("other 3\n", replace(names, is_late=False))
