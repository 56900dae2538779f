"""Drifts and gates are told while there are any."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest

from casspec.runtime.batching.draft_switch import Said
from casspec.runtime.watch.drift import Drift
from casspec.server.watching.watch_metrics import WatchMetrics, sizes
from casspec.server.watching.watches import FoundDrift


def test_drifts_and_gates_are_told_as_they_are_now() -> None:
    drifts, gates, registry = list[FoundDrift](), list[Said](), CollectorRegistry()
    registry.register(WatchMetrics("m", lambda: drifts, lambda: gates))
    assert 'model_name="m"' not in generate_latest(registry).decode()
    drifts.append(FoundDrift(Drift("acceptance", "int4", "greedy", 0.81, 0.95), "casspec calibrate m --suite FILE"))
    drifts.append(FoundDrift(Drift("latency", "target", None, 2.5, 1.0), "casspec calibrate m"))
    gates += [Said(1, "greedy", True, 1.5), Said(4, "sample", False, None)]
    lines = generate_latest(registry).decode().splitlines()
    for line in (
        'casspec:drift{kind="acceptance",mode="greedy",model_name="m",subject="int4"} 0.81',
        'casspec:drift_calibrated{kind="acceptance",mode="greedy",model_name="m",subject="int4"} 0.95',
        'casspec:drift{kind="latency",mode="",model_name="m",subject="target"} 2.5',
        'casspec:gate_on{mode="greedy",model_name="m",texts="1"} 1.0',
        'casspec:gate_gain{mode="greedy",model_name="m",texts="1"} 1.5',
        'casspec:gate_on{mode="sample",model_name="m",texts="4-7"} 0.0',
    ):
        assert line in lines
    assert not any(line.startswith("casspec:gate_gain") and 'texts="4-7"' in line for line in lines)
    drifts.clear()
    assert "casspec:drift{" not in generate_latest(registry).decode()


def test_sizes_are_told_as_ranges() -> None:
    assert [sizes(Said(n, "greedy", True, None)) for n in (1, 2, 16)] == ["1", "2-3", "16-31"]
