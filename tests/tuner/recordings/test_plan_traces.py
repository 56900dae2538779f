"""Traces of plans are made once and kept."""

from __future__ import annotations

import numpy as np

from casspec.tuner.recordings.offline_acceptance import AcceptanceMeter
from casspec.tuner.recordings.plan_traces import trace_from_bytes, trace_to_bytes
from tests.tuner.tiny_replay import RECORDINGS, SPARSE, TARGET


def test_a_trace_survives_being_stored() -> None:
    trace = AcceptanceMeter(TARGET, RECORDINGS, probabilities=True).depth_profile(SPARSE, 1)
    copy = trace_from_bytes(trace_to_bytes(trace))
    for name, value in vars(trace).items():
        assert np.array_equal(getattr(copy, name), value), name
    assert np.all(copy.probabilities <= 1)
