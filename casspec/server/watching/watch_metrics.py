"""What a server knows of its profile, for Prometheus: drifts, and whether drafts pay by size of the batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from casspec.runtime.batching.draft_switch import Said
from casspec.server.watching.watches import FoundDrift


class WatchMetrics(Collector):
    """Asks when it is asked.

    Args:
        drifts, gates: what there is now; called on any thread.
    """

    def __init__(
        self, model: str, drifts: Callable[[], Sequence[FoundDrift]], gates: Callable[[], Sequence[Said]]
    ) -> None:
        self._model, self._drifts, self._gates = model, drifts, gates

    def collect(self) -> Iterator[Metric]:
        """Drifts are there while they last; a gain is there once it was measured."""
        of_drift, of_gate = ["model_name", "kind", "subject", "mode"], ["model_name", "texts", "mode"]
        now = GaugeMetricFamily(
            "casspec:drift", "A figure that the profile no longer fits, as it is now.", labels=of_drift
        )
        calibrated = GaugeMetricFamily("casspec:drift_calibrated", "The same by the profile.", labels=of_drift)
        for found in self._drifts():
            drift = found.drift
            names = [self._model, drift.kind, drift.subject, drift.mode or ""]
            now.add_metric(names, drift.now)
            calibrated.add_metric(names, drift.calibrated)
        on = GaugeMetricFamily("casspec:gate_on", "Whether batches of a size draft.", labels=of_gate)
        gain = GaugeMetricFamily("casspec:gate_gain", "Measured gain of drafting in batches of a size.", labels=of_gate)
        for said in self._gates():
            names = [self._model, sizes(said), said.mode]
            on.add_metric(names, said.drafts)
            if said.gain is not None:
                gain.add_metric(names, said.gain)
        yield from (now, calibrated, on, gain)


def sizes(said: Said) -> str:
    """Texts of a batch: "1", "2-3", "4-7"."""
    return str(said.n_texts) if said.n_texts == 1 else f"{said.n_texts}-{2 * said.n_texts - 1}"
