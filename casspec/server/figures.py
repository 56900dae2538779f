"""What a server does right now, for the page and for whoever wants it in one small document."""

from __future__ import annotations

import time
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from casspec.runtime.decode import Decoder
from casspec.server.service import Service
from casspec.server.watching.watch_metrics import sizes


def figures(service: Service) -> dict[str, Any]:
    """Everything but the model's own part while it loads."""
    metrics, load = service.metrics, service.metrics.load
    found: dict[str, Any] = {
        "state": service.state,
        "model": service.settings.model_name,
        "version": version("casspec"),
        "up_seconds": round(time.time() - service.created),
        "tokens_per_second": round(metrics.recent.tokens_per_second, 2),
        "gain": metrics.recent.gain,
        "drafts": metrics.drafts,
        "running": load.n_running,
        "waiting": load.n_waiting,
        "open": service.admission.n_open,
        "max_batch": service.settings.max_batch,
        "max_queue": service.settings.max_queue,
        "cached_bytes": load.cached_bytes,
        "cache_bytes": load.total_bytes,
        "prefix_hits": load.prefix_hits,
        "prefix_tokens": load.prefix_tokens,
        "first_token_ms": quantiles(metrics.firsts),
        "token_ms": quantiles(metrics.gaps),
        "drifts": [{"says": one.drift.says, "run": one.remedy} for one in service.drifts()],
        "gates": [
            {"texts": sizes(one), "mode": one.mode, "drafts": one.drafts, "gain": one.gain} for one in service.gates()
        ],
        "drafters": {
            name: {"drafted": drafted, "accepted": metrics.accepted_by[name]}
            for name, drafted in sorted(metrics.drafted_by.items())
        },
    }
    if service.state in ("ready", "draining") and service.failure is None and hasattr(service, "tokens"):
        found["serving"] = _serving(service.engines.decoder)
    return found


def quantiles(seconds: Sequence[float]) -> dict[str, float] | None:
    """Median and 99th percentile in milliseconds; None of nothing."""
    ordered = sorted(seconds)
    if not ordered:
        return None
    last = len(ordered) - 1
    return {"p50": round(ordered[round(last * 0.5)] * 1e3, 2), "p99": round(ordered[round(last * 0.99)] * 1e3, 2)}


def _serving(decoder: Decoder) -> dict[str, Any]:
    """The model and the profile in use, with their fingerprints."""
    target, profile = decoder.target, decoder.profile
    told: dict[str, Any] = {
        "name": target.name,
        "family": target.family,
        "dtype": target.dtype_name,
        "backend": target.backend,
        "context": target.max_context,
        "methods": {mode: decoder.method_in(mode) for mode in ("greedy", "sample")},
        "profile": None,
    }
    if profile is not None:
        told["profile"] = {
            "id": profile.profile_id,
            "created": profile.created_at,
            "decision": profile.decision,
            "weights": profile.model.weights_sha256[:12],
            "device": profile.device.name,
            "threads": profile.device.threads,
            "drafters": [drafter.name for drafter in profile.drafters],
            "predicted_speedup": profile.predicted_speedup,
        }
    return told
