"""What plans say on recordings, traced once and kept: what lets methods that ask them be replayed without the model."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from casspec.profiler.progress import Tell, untold
from casspec.runtime.model.plan import Plan
from casspec.runtime.model.target import TargetModel
from casspec.storage.repository import ARTIFACT_KIND, Repository
from casspec.storage.schema import Precision
from casspec.tuner.recordings.offline_acceptance import AcceptanceMeter, PlanTrace
from casspec.tuner.recordings.recording import Recording
from casspec.tuner.recordings.traced_plan import RecordingKey, TracedPlan

TRACE_PREFIX = "trace/"

Kind = Literal["first", "deep"]
"""Every position as the first token of a draft, or at the depth it has in a block."""

WIDEST = 12
"""Proposals kept of each position: fixed trees take ten."""


class TraceShelf:
    """Traces of plans on some recordings: from memory, else from the store, else made with the model.

    Args:
        load: gives the model, called when a trace is missing.
        tell: called with a line when plans are traced.
    """

    def __init__(
        self,
        repository: Repository,
        calibration_id: str,
        recordings: Sequence[Recording],
        load: Callable[[], TargetModel],
        tell: Tell = untold,
    ) -> None:
        self._repository = repository
        self._calibration_id = calibration_id
        self._recordings = recordings
        self._load = load
        self._tell = tell
        self._plans: dict[str, TracedPlan] = {}
        self._meter: AcceptanceMeter | None = None
        self._digests = [hashlib.sha256(recording.to_bytes()).hexdigest()[:16] for recording in recordings]
        stored = repository.documents(calibration_id, ARTIFACT_KIND)
        self._stored = {name: entry["sha256"] for name, entry in stored.items() if name.startswith(TRACE_PREFIX)}

    def __call__(self, plan: Plan) -> TracedPlan:
        """What `plan` said on all recordings."""
        if plan.name not in self._plans:
            deep, first = self._traces(plan, "deep"), self._traces(plan, "first")
            self._plans[plan.name] = TracedPlan(deep, first)
        return self._plans[plan.name]

    def _traces(self, plan: Plan, kind: Kind) -> dict[RecordingKey, PlanTrace]:
        return {
            (recording.prompt_id, recording.mode): self._trace(plan, place, kind)
            for place, recording in enumerate(self._recordings)
        }

    def _trace(self, plan: Plan, place: int, kind: Kind) -> PlanTrace:
        name = f"{TRACE_PREFIX}{plan.name}/{kind}/{self._digests[place]}"
        content = self._repository.artifact(self._stored[name]) if name in self._stored else None
        if content is not None:
            return trace_from_bytes(content)
        if self._meter is None:
            self._tell("tracing plans on the recordings")
            self._meter = AcceptanceMeter(self._load(), self._recordings, candidates=WIDEST, probabilities=True)
        if plan.precision is not Precision.TARGET:
            self._load().prepare(plan.precision)
        trace = self._meter.depth_profile(plan, place) if kind == "deep" else self._meter.first_token(plan, place)
        self._repository.save_artifact(name, trace_to_bytes(trace), self._calibration_id)
        return trace


def trace_to_bytes(trace: PlanTrace) -> bytes:
    """The arrays of a trace, compressed."""
    content = io.BytesIO()
    arrays = {name: value for name, value in vars(trace).items() if value is not None}
    np.savez_compressed(content, allow_pickle=False, **arrays)
    return content.getvalue()


def trace_from_bytes(content: bytes) -> PlanTrace:
    with np.load(io.BytesIO(content)) as arrays:
        return PlanTrace(**arrays)
