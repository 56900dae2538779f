"""Counters say what happened, under the names that operators graph."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from casspec.runtime.decoding.generation import Generation, Statistics
from casspec.server.engines import Load, Stepped
from casspec.server.metrics import Metrics, Recent, accepted_by_position
from casspec.server.replies import Told
from casspec.server.step_thread import Order


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, {"model_name": "m", **labels})


def statistics() -> Statistics:
    found = Statistics("dytc", reused_tokens=3)
    found.count([(["root", "pld", "pld"], [0, 1, 2], [1, 2, 3]), (["root", "rec"], [0], [4]), (["root"], [0], [5])])
    return found


def reply(whole: bool = True) -> Any:
    order = Order([1, 2, 3, 4])
    told = Told(order, [], Generation([1, 2, 3, 4, 5], statistics(), "x", "stop") if whole else None, 5)
    return SimpleNamespace(told=[told], is_whole=whole, first_s=0.5, gaps_s=[0.1, 0.2], age_s=2.0)


def test_a_text_that_is_over_counts() -> None:
    metrics = Metrics("m")
    metrics.ended(reply())
    for name, expected in [
        ("vllm:prompt_tokens_total", 4),
        ("vllm:prefix_cache_hits_total", 3),
        ("vllm:spec_decode_num_drafts_total", 2),
        ("vllm:spec_decode_num_draft_tokens_total", 3),
        ("vllm:spec_decode_num_accepted_tokens_total", 2),
        ("vllm:time_to_first_token_seconds_sum", 0.5),
        ("vllm:inter_token_latency_seconds_count", 2),
        ("vllm:e2e_request_latency_seconds_sum", 2),
        ("vllm:request_generation_tokens_sum", 5),
    ]:
        assert value(metrics, name) == pytest.approx(expected), name
    assert value(metrics, "vllm:request_success_total", finished_reason="stop") == 1
    assert value(metrics, "vllm:spec_decode_num_accepted_tokens_per_pos_total", position="1") == 1
    assert value(metrics, "casspec:accepted_tokens_total", drafter="pld") == 2
    assert value(metrics, "casspec:draft_tokens_total", drafter="rec") == 1
    assert (list(metrics.firsts), list(metrics.gaps)) == ([0.5], [0.1, 0.2])


def test_a_text_that_was_left_is_no_success() -> None:
    metrics = Metrics("m")
    metrics.ended(reply(whole=False))
    assert value(metrics, "casspec:failed_requests_total", reason="left") == 1
    assert value(metrics, "vllm:request_success_total", finished_reason="stop") is None
    metrics.failed("queue_full")
    assert value(metrics, "casspec:failed_requests_total", reason="queue_full") == 1


def test_steps_tell_load_decision_and_gain() -> None:
    metrics = Metrics("m")
    metrics.stepped([Stepped(2, 6, 20.0, True, 10.0), Stepped(2, 2, 10.0, False, None)], Load(2, 1, 50, 100))
    page = metrics.page()[0].decode()
    assert 'casspec:gain_over_plain{model_name="m"} 1.5' in page, "three tokens a text, 10 ms each plainly, in 20 ms"
    assert value(metrics, "vllm:num_requests_running") == 2
    assert value(metrics, "vllm:num_requests_waiting") == 1
    assert value(metrics, "vllm:kv_cache_usage_perc") == 0.5
    assert value(metrics, "vllm:generation_tokens_total") == 8
    assert value(metrics, "casspec:speculation_on") == 0
    assert value(metrics, "casspec:steps_total", drafted="false") == 1


def test_a_busy_machine_is_no_loss() -> None:
    recent = Recent()
    for _ in range(50):
        recent.add(Stepped(2, 2, 40.0, False, 10.0))
    assert recent.gain == pytest.approx(1.0)
    fresh = Recent(seconds=60.0)
    fresh.add(Stepped(2, 2, 40.0, False, 10.0))
    for _ in range(1000):
        fresh.add(Stepped(2, 6, 80.0, True, 10.0))
    assert fresh.gain == pytest.approx(1.5, abs=0.01)


def test_without_steps_no_gain_is_told() -> None:
    assert 'casspec:gain_over_plain{model_name="m"} NaN' in Metrics("m").page()[0].decode()


def test_what_is_long_ago_is_no_rate_of_now() -> None:
    recent = Recent(seconds=0.0)
    recent.add(Stepped(1, 5, 1.0, True, 1.0))
    assert (recent.tokens_per_second, recent.gain) == (0.0, None)


@pytest.mark.parametrize(("lengths", "expected"), [({}, {}), ({1: 5}, {}), ({1: 2, 3: 4, 2: 1}, {0: 5, 1: 4})])
def test_the_last_token_of_a_step_is_no_candidate(lengths: dict[int, int], expected: dict[int, int]) -> None:
    assert accepted_by_position(Counter(lengths)) == expected
