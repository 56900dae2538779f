"""The page is told what the server does and on which profile."""

from __future__ import annotations

import httpx2 as httpx
import pytest

from casspec.runtime.watch.drift import Drift
from casspec.server.figures import quantiles
from casspec.server.watching.watches import FoundDrift
from tests.casspec.server.serving import Served, profile_of


def test_figures_tell_profile_load_and_latencies(served: Served) -> None:
    served.client().completions.create(model="tiny", prompt=[5, 9, 300] * 5, max_tokens=20)
    told = httpx.get(f"{served.url}/figures").json()
    document = profile_of().document
    assert document is not None
    assert (told["state"], told["model"], told["running"], told["max_batch"]) == ("ready", "tiny", 0, 8)
    assert told["serving"]["profile"]["id"] == document.profile_id
    assert told["serving"]["profile"]["weights"] == document.model.weights_sha256[:12]
    assert told["serving"]["methods"] == {"greedy": "dytc", "sample": "dytc"}
    assert told["first_token_ms"]["p50"] > 0
    assert 0 < told["cached_bytes"] < told["cache_bytes"]
    assert told["drifts"] == []
    assert ("1", "greedy") in {(gate["texts"], gate["mode"]) for gate in told["gates"]}


def test_a_drift_is_told_with_what_to_run(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    found = FoundDrift(Drift("acceptance", "int4", "greedy", 0.81, 0.95), "casspec calibrate tiny --suite FILE")
    monkeypatch.setattr(served.service, "drifts", lambda: [found])
    (drift,) = httpx.get(f"{served.url}/figures").json()["drifts"]
    assert drift["says"] == "the profile no longer fits: acceptance of int4 .81, calibrated .95 in greedy decoding"
    assert drift["run"] == found.remedy


def test_percentiles_are_in_milliseconds() -> None:
    assert quantiles([]) is None
    assert quantiles([one / 1000 for one in range(101)]) == {"p50": 50.0, "p99": 99.0}
    assert quantiles([0.25]) == {"p50": pytest.approx(250.0), "p99": pytest.approx(250.0)}
