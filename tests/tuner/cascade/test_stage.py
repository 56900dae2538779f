"""The stage that chooses the cascade: every outcome kept, nothing found out twice."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import pytest

from casspec.profiler.progress import silent
from casspec.storage import open_repository
from casspec.storage.predictions import TaskCascade
from casspec.storage.schema import SkipSet
from casspec.tuner.cascade.contenders import Cascade
from casspec.tuner.cascade.forecast import Selection
from casspec.tuner.cascade.per_task import TaskVerdict
from casspec.tuner.cascade.stage import Chosen, choose_cascade
from casspec.tuner.methods.by_replay import TunedMethods
from casspec.tuner.recordings.offline_acceptance import AcceptanceMeter
from casspec.tuner.recordings.recording import Recording
from tests.storage import samples
from tests.tuner.small_calibration import SETTINGS, begun, small_target, tuned_by_nobody
from tests.tuner.tiny import tiny_latency


def again(*_: object) -> NoReturn:
    raise AssertionError("found out twice")


@pytest.mark.parametrize("per_task", [False, True])
def test_a_stage_that_ran_answers_from_the_store(
    recordings: list[Recording], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, per_task: bool
) -> None:
    latency = tiny_latency(small_target())
    candidates = [
        samples.candidate((layer,)).model_copy(update={"skip": SkipSet(attention=(layer,)), "cost": cost})
        for layer, cost in ((1, 0.8), (2, 0.7))
    ]
    database = str(tmp_path / "casspec.db")
    with open_repository(database) as repository:
        context = begun(repository, database, SETTINGS.changed({"cascade": {"per_task": per_task}}))
        first = choose_cascade(context, recordings, latency, candidates, silent, tuned_by_nobody)
        monkeypatch.setattr(AcceptanceMeter, "depth_profile", again)
        second = choose_cascade(context, recordings, latency, candidates, silent, again)
    assert second == first
    assert first.tasks.keys() == ({"task"} if per_task else set())
    assert first.tuned.settings("prompt-lookup") == {"n_tokens": 4}
    assert first.cascade.decision == first.selection.decision


def test_a_task_is_predicted_as_it_is_served() -> None:
    selection = Selection(
        drafters=(),
        parameters={},
        decision="cascade",
        predicted_speedup={"greedy": 1.5},
        predicted_by_task={"greedy": {"qa": 1.4, "code": 1.6}, "sample": {"qa": 1.3}},
    )
    own = TaskCascade(drafters=(), parameters={}, decision="retrieval-only", predicted_speedup={"greedy": 2.0})
    tasks = {"qa": TaskVerdict(gain=1.4, own=own), "code": TaskVerdict(gain=1.0)}
    cascade = Cascade(drafters=(), decision="cascade", methods=(), cells={})
    chosen = Chosen(cascade, selection, TunedMethods((), ()), tasks)
    assert chosen.predicted_by_task == {"greedy": {"qa": 2.0, "code": 1.6}, "sample": {"qa": 1.3}}
