"""The stage that chooses the cascade: every outcome kept, nothing found out twice."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casspec.storage import open_repository
from casspec.storage.predictions import TaskCascade
from casspec.storage.repository import Repository
from casspec.storage.schema import Precision, Quantization, SkipSet
from casspec.tuner.cascade.contenders import Cascade
from casspec.tuner.cascade.forecast import Selection
from casspec.tuner.cascade.per_task import TaskVerdict
from casspec.tuner.cascade.stage import CascadeStage, Chosen, affordable, typical_context
from casspec.tuner.methods.by_replay import TunedMethods
from casspec.tuner.recordings.offline_acceptance import AcceptanceMeter
from casspec.tuner.recordings.recording import Recording
from tests.storage import samples
from tests.tuner.small_calibration import SETTINGS, small_target, tuned_by_nobody
from tests.tuner.tiny import tiny_latency, tiny_target


def untold(done: int, total: int | None = None, note: str = "") -> None: ...


def again(*_: object) -> NoReturn:
    raise AssertionError("found out twice")


@pytest.mark.parametrize("per_task", [False, True])
def test_a_stage_that_ran_answers_from_the_store(
    recordings: list[Recording], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, per_task: bool
) -> None:
    target, latency = small_target(), tiny_latency(small_target())
    candidates = [
        samples.candidate((layer,)).model_copy(update={"skip": SkipSet(attention=(layer,)), "cost": cost})
        for layer, cost in ((1, 0.8), (2, 0.7))
    ]
    settings = SETTINGS.model_copy(update={"per_task": per_task})

    def run(repository: Repository, tune_methods=tuned_by_nobody) -> Chosen:
        calibration_id = repository.calibration(samples.model(), samples.device(), "float32", {}).calibration_id
        stage = CascadeStage(repository, calibration_id, target, settings, tune_methods)
        return stage.run(recordings, latency, candidates, untold)

    with open_repository(str(tmp_path / "casspec.db")) as repository:
        first = run(repository)
        monkeypatch.setattr(AcceptanceMeter, "depth_profile", again)
        second = run(repository, again)
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


@given(st.integers(0, 2000), st.one_of(st.none(), st.integers(0, 2000)))
def test_a_precision_is_affordable_up_to_the_limit_of_memory(extra_bytes: int, limit: int | None) -> None:
    quantization = Quantization(precision=Precision.INT8_DYNAMIC, extra_bytes=extra_bytes)
    assert affordable(quantization, limit) is (limit is None or extra_bytes <= limit)


def test_costs_are_compared_halfway_through_the_texts(recordings: list[Recording]) -> None:
    prompts = [len(recording.prompt_tokens) for recording in recordings]
    assert typical_context(recordings) == round(sum(prompts) / len(prompts) + 24)
    assert typical_context(recordings[:1]) == prompts[0] + 24
    assert typical_context(recordings) < tiny_target().max_context
