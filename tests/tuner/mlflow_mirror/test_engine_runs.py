"""Searches over engines as runs."""

from __future__ import annotations

from casspec.storage.engines.documents import PLAIN, EngineLatency, EngineTrial
from casspec.tuner.mlflow_mirror.engine_runs import engine_children, engine_parent
from casspec.tuner.mlflow_mirror.mirror import ENGINE_TAG, PARENT_TAG, MLflowMirror
from tests.storage.engines.test_documents import NGRAM, measurement, result

FAILED = NGRAM.model_copy(update={"method": "suffix"})
TRIALS = [
    EngineTrial(
        setting=NGRAM, concurrency=1, status="predicted", predicted_tokens_per_second=50.0, acceptance_length=1.5
    ),
    EngineTrial(setting=FAILED, concurrency=1, status="failed", reason="no suffix here"),
    EngineTrial(setting=FAILED, concurrency=4, status="failed", reason="no suffix here"),
]
MEASURED = [
    measurement(drafts=10, accepted_tokens=10),
    measurement(seconds=5.0, drafts=10, accepted_tokens=20),
    measurement(setting=PLAIN, seconds=8.0),
]


def test_a_search_has_its_gains_and_every_trial_as_a_table() -> None:
    latency = EngineLatency(points=(), median_error=0.03, largest_error=0.1)
    parent = engine_parent(result(latency=latency), TRIALS)
    assert parent.metrics["gain/1"] == 1.3
    assert parent.metrics["plain_tokens_per_second/4"] == 40.0
    assert parent.metrics["latency/median_error"] == 0.03
    assert parent.params["concurrency"] == "1,4"
    header, *rows = parent.texts["trials.csv"].splitlines()
    assert header.startswith("setting,concurrency,status")
    assert len(rows) == 3


def test_what_was_measured_or_failed_is_a_child() -> None:
    first, plain, failed = engine_children(TRIALS, MEASURED)
    assert first.metrics == {"tokens_per_second/4": 45.0, "acceptance_length/4": 2.5}
    assert plain.metrics == {"tokens_per_second/4": 25.0}
    assert failed.texts == {"reason.txt": "no suffix here"}


def test_mirrored_twice_nothing_is_doubled(mlflow_mirror: MLflowMirror) -> None:
    parent, children = engine_parent(result(), TRIALS), engine_children(TRIALS, MEASURED)
    for known in (children[:1], children, children):
        mlflow_mirror.mirror_engine(parent, known)
    (run,) = mlflow_mirror._search(f"tags.`{ENGINE_TAG}` = '{parent.key}'")
    below = mlflow_mirror._search(f"tags.`{PARENT_TAG}` = '{run.info.run_id}'")
    assert len(below) == len(children)
    assert {each.info.status for each in (run, *below)} == {"FINISHED"}
    assert run.data.metrics["gain/4"] == 1.1
