"""A calibration from end to end on a tiny model: what it leaves behind, and that an interruption changes none of it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from casspec.runtime.latency.predictor import LatencyPredictor, builtin_latency
from casspec.runtime.loading.device import device_fingerprint
from casspec.runtime.loading.fingerprint import model_fingerprint
from casspec.runtime.model.quantization import extra_bytes
from casspec.runtime.model.target import TargetModel
from casspec.storage import open_repository
from casspec.storage.errors import SuiteError, UnsupportedModel
from casspec.storage.repository import ARTIFACT_KIND, Repository
from casspec.storage.schema import CascadeProfile, Precision
from casspec.tuner.calibration.calibrate import STAGES, Calibrator, take_over
from casspec.tuner.calibration.closing_bench import closing_bench
from casspec.tuner.calibration.run import MATRIX_NAME, CalibrationRun
from casspec.tuner.cascade.contenders import Costs, choose_cascade, lookup_survival, measure_contender, trace
from casspec.tuner.cascade.forecast import Selection
from casspec.tuner.cascade.stage import SELECTION_KIND
from casspec.tuner.external_databases import external_databases
from casspec.tuner.mlflow_mirror.mirror import CALIBRATION_TAG, PARENT_TAG, PART_TAG, MLflowMirror
from casspec.tuner.mlflow_mirror.registry import PROFILE_TAG
from casspec.tuner.recordings.offline_acceptance import BLOCK, AcceptanceMeter
from casspec.tuner.recordings.stage import chosen_prompts
from casspec.tuner.replay.overhead import OVERHEAD_KIND, Overheads
from casspec.tuner.search.plan_spec import PlanSpec
from casspec.tuner.search.stage import StoredSearch
from casspec.tuner.suites.prompts import prompt_ids
from tests.runtime.tiny import library_model
from tests.tuner.small_calibration import SETTINGS, SUITE, StageLog, calibrate, small_target, tuned_by_nobody
from tests.tuner.tiny import VOCAB, tiny_recordings

N_RECORDINGS = 2 * SETTINGS.recorded_prompts


def rows(repository: Repository, target: TargetModel) -> dict[str, Any]:
    """What the calibration left in the store, by kind."""
    device = device_fingerprint("cpu")
    calibration_id = repository.calibration(
        model_fingerprint(target), device, "float32", SETTINGS.model_dump(mode="json")
    ).calibration_id
    return {
        "key": calibration_id,
        "candidates": [PlanSpec.of(candidate) for candidate in repository.candidates(calibration_id)],
        "recordings": sorted(
            name for name in repository.documents(calibration_id, ARTIFACT_KIND) if name != MATRIX_NAME
        ),
        "samples": [sample.point for sample in repository.latency_samples(calibration_id)],
        "profiles": [profile.content_hash() for profile in repository.profiles()],
    }


def check_complete(database: Path) -> None:
    with open_repository(str(database)) as repository:
        found = rows(repository, small_target())
    assert len(found["candidates"]) == len(set(found["candidates"])) == SETTINGS.trials
    assert len(found["recordings"]) == len(set(found["recordings"])) == N_RECORDINGS
    assert len(found["samples"]) == len(set(found["samples"])) > 0
    assert len(found["profiles"]) == 1
    tracker = MLflowMirror(external_databases(str(database)))
    (parent,) = tracker._search(f"tags.`{CALIBRATION_TAG}` = '{found['key']}'")
    children = tracker._search(f"tags.`{PARENT_TAG}` = '{parent.info.run_id}'")
    assert sum(run.data.tags[PART_TAG].startswith("trial") for run in children) == SETTINGS.trials
    assert {run.data.tags[PART_TAG] for run in children} >= {"latency", "replay"}
    assert Counter(run.info.status for run in [parent, *children]) == {"FINISHED": SETTINGS.trials + 3}
    (version,) = tracker._client.search_model_versions(f"tags.`{PROFILE_TAG}` = '{found['profiles'][0]}'")
    assert tracker._client.get_model_version_by_alias(version.name, "candidate").version == version.version


def test_an_interrupted_calibration_resumes_and_then_answers_from_the_store(tmp_path, with_mirror) -> None:
    database = with_mirror(tmp_path / "casspec.db")

    class Interrupted(BaseException):
        pass

    for where in (("record", 4), ("search", 7), ("cascade", 1), ("track", 5)):

        def interrupt(stage: str, done: int, where: tuple[str, int] = where) -> None:
            if (stage, done) == where:
                raise Interrupted

        with pytest.raises(Interrupted):
            calibrate(str(database), StageLog(interrupt))
    log = StageLog()
    profile = calibrate(str(database), log)
    assert log.entered == list(STAGES)
    check_complete(database)

    target = small_target()
    assert profile.suite == "small"
    assert [drafter.kind for drafter in profile.drafters][-2:] == ["token-recycling", "prompt-lookup"]
    assert profile.drafters[0].kind == "self"
    assert profile.settings("layer-sparse")["n_tokens"] >= 1
    assert profile.settings("prompt-lookup") == {"n_tokens": 4}
    keys = {cell.key.rpartition(":")[0] for prior in profile.acceptance for cell in prior.cells}
    assert keys == {"retrieval", *(drafter.name for drafter in profile.drafters if drafter.kind == "self")}
    with open_repository(str(database)) as repository:
        calibrator = Calibrator(repository, external_databases(str(database)), tuned_by_nobody)
        assert calibrator.stored(target, SETTINGS) == profile
        assert calibrator.stored(target, SETTINGS.model_copy(update={"seed": 1})) is None
        assert repository.artifact(profile.artifacts[0].sha256)


def test_a_killed_calibration_resumes_with_exact_rows(tmp_path, with_mirror) -> None:
    database = with_mirror(tmp_path / "casspec.db")
    command = [sys.executable, "-m", "tests.tuner.small_calibration", str(database)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line == "search 9\n":
            break
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()
    calibrate(str(database), StageLog())
    check_complete(database)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, with_mirror) -> tuple[Path, CascadeProfile]:
    """A database with one finished calibration, and its profile."""
    database = with_mirror(tmp_path_factory.mktemp("finished") / "casspec.db")
    return database, calibrate(str(database), StageLog())


def test_searching_on_takes_over_what_was_measured(finished) -> None:
    database, old = finished
    more = SETTINGS.model_copy(update={"trials": SETTINGS.trials + 3})
    measured: list[tuple[str, int]] = []
    log = StageLog(lambda stage, done: measured.append((stage, done)))
    with open_repository(str(database)) as repository:
        source, settings = repository.calibration_of(old.profile_id)
        assert settings == SETTINGS.model_dump(mode="json")
        calibrator = Calibrator(repository, external_databases(str(database)), tuned_by_nobody)
        new = calibrator.run(small_target(), SUITE, more, log, source=source)
        calibration_id, _ = repository.calibration_of(new.content_hash())
        assert calibration_id != source
        assert new.latency == old.latency
        assert new.artifacts == old.artifacts  # the matrix comes from the same recordings
        assert len(repository.candidates(calibration_id)) == SETTINGS.trials + 3
        assert StoredSearch(repository, calibration_id).taken_over() == SETTINGS.trials
    assert [done for stage, done in measured if stage == "search"] == [13, 14, 15]
    assert not [done for stage, done in measured if stage == "profile"]


def test_another_choice_of_the_cascade_measures_nothing_again(finished) -> None:
    database, usual = finished
    measured: list[str] = []
    asked = SETTINGS.model_copy(update={"per_task": True, "max_drafters": 1})
    with open_repository(str(database)) as repository:
        calibrator = Calibrator(repository, external_databases(str(database)), tuned_by_nobody)
        log = StageLog(lambda stage, done: measured.append(stage))
        profile = calibrator.run(small_target(), SUITE, asked, log)
        assert calibrator.run(small_target(), SUITE, asked, StageLog()) == profile
        calibration_id, _ = repository.calibration_of(profile.content_hash())
        assert StoredSearch(repository, calibration_id).taken_over() == 0  # it is the search of the usual one
    assert not {"profile", "search"} & set(measured)
    assert profile.latency == usual.latency
    assert profile.artifacts == usual.artifacts
    assert set(profile.task_gains) == {"count"}  # of the other task one prompt was recorded
    assert usual.task_gains == {}


def test_a_profile_predicts_by_mode_task_and_batch(finished) -> None:
    _, profile = finished
    assert set(profile.predicted_speedup) == set(profile.predicted_by_task) == {"greedy", "sample"}
    assert {task for tasks in profile.predicted_by_task.values() for task in tasks} == {"count", "skip"}
    assert [prediction.batch for prediction in profile.predicted_by_batch] == [1, 2, 4, 8, 16, 32]
    assert [prediction.verified for prediction in profile.predicted_by_batch] == [True] + [False] * 5
    told = [prediction.latencies == "extrapolated" for prediction in profile.predicted_by_batch]
    assert told == [False, False, True, True, True, True], "batches of up to 2 were measured"
    assert profile.predicted_by_batch[0].decision == profile.decision
    assert profile.predicted_by_batch[0].speedup == profile.predicted_speedup
    assert all(
        low <= profile.predicted_speedup[mode] <= high for mode, (low, high) in profile.predicted_interval.items()
    )


def test_dytc_is_told_what_reviews_cost_here(finished) -> None:
    database, profile = finished
    with open_repository(str(database)) as repository:
        calibration_id, _ = repository.calibration_of(profile.content_hash())
        overheads = Overheads.model_validate(repository.get_document(calibration_id, OVERHEAD_KIND, "all"))
        selection = Selection.model_validate(repository.get_document(calibration_id, SELECTION_KIND, "all"))
    measured = [overheads.of("dytc", mode).draft_ms for mode in ("greedy", "sample")]
    assert selection.parameters["review_overhead_ms"] == pytest.approx(sum(measured) / 2)


def test_plans_that_need_more_memory_than_allowed_are_not_searched(tmp_path) -> None:
    target = TargetModel(library_model(vocab_size=VOCAB, intermediate_size=64, num_hidden_layers=4), name="tiny")
    settings = SETTINGS.model_copy(update={"max_extra_bytes": extra_bytes(target.weights, Precision.INT4_WEIGHT) - 1})
    with open_repository(str(tmp_path / "casspec.db")) as repository:
        calibration_id = repository.calibration(
            model_fingerprint(target), device_fingerprint("cpu"), "float32", {}
        ).calibration_id
        run = CalibrationRun(
            repository,
            external_databases(str(tmp_path / "casspec.db")),
            tuned_by_nobody,
            calibration_id,
            target,
            SUITE,
            settings,
        )
        recordings, log = tiny_recordings(target, n_tokens=12), StageLog()
        with log.stage("search"):
            found = run.search(recordings, builtin_latency(target), log, offered=[Precision.INT4_WEIGHT])
    assert {candidate.quantization.precision for candidate in found} == {Precision.TARGET}


def test_offered_precisions_are_searched_and_carry_their_memory(tmp_path) -> None:
    target = TargetModel(library_model(vocab_size=VOCAB, intermediate_size=64, num_hidden_layers=4), name="tiny")
    settings = SETTINGS.model_copy(update={"trials": 20})
    with open_repository(str(tmp_path / "casspec.db")) as repository:
        calibration_id = repository.calibration(
            model_fingerprint(target), device_fingerprint("cpu"), "float32", {}
        ).calibration_id
        databases = external_databases(str(tmp_path / "casspec.db"))
        run = CalibrationRun(repository, databases, tuned_by_nobody, calibration_id, target, SUITE, settings)
        recordings, log = tiny_recordings(target, n_tokens=12), StageLog()
        with log.stage("search"):
            found = run.search(recordings, builtin_latency(target), log, offered=[Precision.INT4_WEIGHT])
        assert run.search(recordings, builtin_latency(target), log, offered=[Precision.INT4_WEIGHT]) == found
    quantised = [candidate for candidate in found if candidate.quantization.precision is Precision.INT4_WEIGHT]
    needed = extra_bytes(target.weights, Precision.INT4_WEIGHT)
    assert PlanSpec.of(found[0]) == PlanSpec(precision=Precision.INT4_WEIGHT)
    assert 0 < len(quantised) < len(found) == settings.trials
    assert {candidate.quantization.extra_bytes for candidate in quantised} == {needed}

    contender = measure_contender(
        found[0], trace(AcceptanceMeter(target, recordings), found[0], target.n_layers), BLOCK
    )
    costs = Costs(target, LatencyPredictor(builtin_latency(target)), context_tokens=64)
    (drafter, *_) = choose_cascade(
        [contender], [contender.name], "cascade", lookup_survival(recordings), costs
    ).drafters
    assert (drafter.name, drafter.quantization.extra_bytes) == ("int4", needed)


def test_the_closing_benchmark_runs_once_and_reaches_the_mirror(finished) -> None:
    database, profile = finished
    target = small_target()
    with open_repository(str(database)) as repository:
        calibrator = Calibrator(repository, external_databases(str(database)), tuned_by_nobody)
        log = StageLog()
        first = calibrator.bench(target, SUITE, SETTINGS, profile, log)
        assert calibrator.bench(target, SUITE, SETTINGS, profile, log) == first
        assert log.entered == ["bench"]
        # By its inputs: another calibration of this database may have come to the same profile.
        calibration_id = calibrator._calibration_id(target, SETTINGS)
    assert {row.method for row in first.rows} == {"autoregressive", "prompt-lookup", "dytc"}
    tasks = {"overall", *(row.task for row in first.rows)}
    assert {mode: set(by_task) for mode, by_task in first.replayed.items()} == dict.fromkeys(
        SETTINGS.bench_modes, tasks
    )
    (parent,) = MLflowMirror(external_databases(str(database)))._search(
        f"tags.`{CALIBRATION_TAG}` = '{calibration_id}'"
    )
    children = MLflowMirror(external_databases(str(database)))._search(f"tags.`{PARENT_TAG}` = '{parent.info.run_id}'")
    (bench,) = (run for run in children if run.data.tags[PART_TAG].startswith("bench"))
    assert bench.data.metrics["bench/sample/autoregressive-published/speedup"] == 1.0
    assert parent.data.metrics["measured_speedup/sample"] > 0


def test_a_profile_deleted_and_calibrated_again_is_mirrored_beside_the_old_runs(tmp_path, with_mirror) -> None:
    database = with_mirror(tmp_path / "casspec.db")
    first = calibrate(str(database), StageLog())
    with open_repository(str(database)) as repository:
        repository.delete_profile(first.profile_id)
    calibrate(str(database), StageLog())
    check_complete(database)


def test_without_room_for_its_tokens_there_is_no_closing_benchmark_and_some_prompts_are_enough(finished) -> None:
    database, profile = finished
    target = small_target()
    lengths = [len(prompt_ids(prompt, target.tokenizer)) for prompt in SUITE.half("reporting")]
    room = target.max_context - max(lengths)
    asked = SETTINGS.model_copy(update={"bench_tokens": room + 1, "bench_prompts": 99})
    with open_repository(str(database)) as repository:
        calibration_id = Calibrator(repository, external_databases(str(database)), tuned_by_nobody)._calibration_id(
            target, SETTINGS
        )
        too_many = asked.model_copy(update={"bench_tokens": target.max_context})
        with StageLog().stage("bench") as bar:
            report = closing_bench(repository, calibration_id, target, SUITE, asked, profile, bar)
            nothing = closing_bench(repository, calibration_id, target, SUITE, too_many, profile, bar)
    assert report is not None
    assert report.environment["prompts"] == sum(length < max(lengths) for length in lengths) > 0
    assert report.environment["prompts_left_out"] == [], "they were not drawn"
    assert nothing is None


def test_the_closing_benchmark_replays_what_it_decodes_at_overheads_of_every_mode(finished) -> None:
    database, profile = finished
    target, other = small_target(), SETTINGS.model_copy(update={"seed": 77})
    talks = tuple(prompt.model_copy(update={"turns": (*prompt.turns, "w1 w2")}) for prompt in SUITE.prompts)
    with open_repository(str(database)) as repository:
        source, _ = repository.calibration_of(profile.content_hash())
        calibration_id = Calibrator(repository, external_databases(str(database)), tuned_by_nobody)._calibration_id(
            target, other
        )
        take_over(repository, source, calibration_id)  # what tuning by real decodes begins with: no overheads among it
        with StageLog().stage("bench") as bar:
            report = closing_bench(
                repository, calibration_id, target, SUITE.model_copy(update={"prompts": talks}), other, profile, bar
            )
        measured = repository.get_document(calibration_id, OVERHEAD_KIND, "all")
    assert {text.prompt_id for text in report.texts} <= {talk.id for talk in talks}, "first turns, as replayed"
    assert set(measured["by_mode"]) == {"sample", "greedy"}


def test_prompts_come_from_every_task_of_the_tuning_half_and_must_fit() -> None:
    target = small_target()
    chosen = [prompt for prompt, _ in chosen_prompts(SUITE, target, SETTINGS)]
    assert {prompt.half for prompt in chosen} == {"tuning"}
    assert Counter(prompt.task for prompt in chosen) == {"count": 2, "skip": 1}
    with pytest.raises(SuiteError, match="fits the model's context of 1024"):
        chosen_prompts(SUITE, target, SETTINGS.model_copy(update={"recorded_tokens": 1022}))
    target.tokenizer = None
    with pytest.raises(UnsupportedModel, match="has no tokenizer"):
        chosen_prompts(SUITE, target, SETTINGS)
