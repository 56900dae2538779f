"""Traces of plans are made once and kept."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import numpy as np

from casspec.runtime.model.target import TargetModel
from casspec.storage import open_repository
from casspec.storage.repository import ARTIFACT_KIND, Repository
from casspec.tuner.recordings.offline_acceptance import AcceptanceMeter
from casspec.tuner.recordings.plan_traces import TRACE_PREFIX, TraceShelf, trace_from_bytes, trace_to_bytes
from tests.storage import samples
from tests.tuner.tiny_replay import RECORDINGS, SPARSE, TARGET


def test_a_trace_survives_being_stored() -> None:
    trace = AcceptanceMeter(TARGET, RECORDINGS, probabilities=True).depth_profile(SPARSE, 1)
    copy = trace_from_bytes(trace_to_bytes(trace))
    for name, value in vars(trace).items():
        assert np.array_equal(getattr(copy, name), value), name
    assert np.all(copy.probabilities <= 1)


def calibration(repository: Repository) -> str:
    return repository.calibration(samples.model(), samples.device(), "float32", {}).calibration_id


def no_model() -> NoReturn:
    raise AssertionError("the model was asked for")


def test_a_plan_is_traced_once_and_then_read_from_the_store_without_the_model(tmp_path: Path) -> None:
    told: list[str] = []
    key = RECORDINGS[0].prompt_id, RECORDINGS[0].mode
    with open_repository(str(tmp_path / "casspec.db")) as repository:
        calibration_id = calibration(repository)
        made = TraceShelf(repository, calibration_id, RECORDINGS[:2], lambda: TARGET, told.append)
        traced = made(SPARSE)
        assert made(SPARSE) is traced
        assert told == ["tracing plans on the recordings"]
        names = [name for name in repository.documents(calibration_id, ARTIFACT_KIND) if name.startswith(TRACE_PREFIX)]
        assert len(names) == 2 * 2, "each recording as a first token and in depth"
        kept = TraceShelf(repository, calibration_id, RECORDINGS[:2], no_model)(SPARSE)
    for depth in (0, 1):
        assert kept.said(key, 3, depth).tokens == traced.said(key, 3, depth).tokens
        assert kept.said(key, 3, depth).probabilities == traced.said(key, 3, depth).probabilities


def test_recordings_that_were_not_traced_yet_are_while_the_others_are_read(tmp_path: Path) -> None:
    with open_repository(str(tmp_path / "casspec.db")) as repository:
        calibration_id, loads = calibration(repository), list[str]()

        def load() -> TargetModel:
            loads.append("model")
            return TARGET

        TraceShelf(repository, calibration_id, RECORDINGS[:1], load)(SPARSE)
        before = repository.documents(calibration_id, ARTIFACT_KIND)
        TraceShelf(repository, calibration_id, RECORDINGS[1:2], load)(SPARSE)
        after = repository.documents(calibration_id, ARTIFACT_KIND)
    assert len(loads) == 2
    assert before.items() < after.items()
    assert len(after) == 2 * len(before)
