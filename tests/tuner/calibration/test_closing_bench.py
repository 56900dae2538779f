"""The short benchmark at the end of a calibration, and what replay says of the prompts it decodes."""

from __future__ import annotations

from dataclasses import replace

from casspec.profiler.progress import silent
from casspec.runtime.loading.profiles import LoadedProfile
from casspec.storage import open_repository
from casspec.tuner.calibration.attempt import take_over
from casspec.tuner.calibration.closing_bench import bench, closing_bench
from casspec.tuner.external_databases import external_databases
from casspec.tuner.mlflow_mirror.mirror import CALIBRATION_TAG, PARENT_TAG, PART_TAG, MLflowMirror
from casspec.tuner.replay.overhead import OVERHEAD_KIND
from casspec.tuner.suites.prompts import prompt_ids
from tests.tuner.small_calibration import SETTINGS, SUITE, StageLog, begun, small_target


def test_the_closing_benchmark_runs_once_and_reaches_the_mirror(finished) -> None:
    database, profile = finished
    with open_repository(str(database)) as repository:
        context, log = begun(repository, str(database)), StageLog()
        first = bench(context, profile, log)
        assert bench(context, profile, log) == first
        assert log.entered == ["bench"]
    assert {row.method for row in first.rows} == {"autoregressive", "prompt-lookup", "dytc"}
    tasks = {"overall", *(row.task for row in first.rows)}
    assert {mode: set(by_task) for mode, by_task in first.replayed.items()} == dict.fromkeys(
        SETTINGS.bench.modes, tasks
    )
    (parent,) = MLflowMirror(external_databases(str(database)))._search(
        f"tags.`{CALIBRATION_TAG}` = '{context.calibration_id}'"
    )
    children = MLflowMirror(external_databases(str(database)))._search(f"tags.`{PARENT_TAG}` = '{parent.info.run_id}'")
    (child,) = (run for run in children if run.data.tags[PART_TAG].startswith("bench"))
    assert child.data.metrics["bench/sample/autoregressive-published/speedup"] == 1.0
    assert parent.data.metrics["measured_speedup/sample"] > 0


def test_another_profile_is_raced_text_by_text_and_once(finished) -> None:
    database, profile = finished
    old = LoadedProfile(profile.model_copy(update={"seed": 99}))
    assert old.document is not None
    with open_repository(str(database)) as repository:
        context, log = begun(repository, str(database)), StageLog()
        plain = bench(context, profile, log)
        raced = bench(context, profile, log, old)
        assert bench(context, profile, log, old) == raced
        assert log.entered.count("bench") <= 2
    assert plain is not None
    assert raced is not None
    assert "against" not in {row.variant for row in plain.rows}
    assert raced.environment["against"] == old.document.content_hash()
    texts = {(text.method, text.variant, text.mode): text.text_sha256 for text in raced.texts}
    for mode in SETTINGS.bench.modes:
        (method,) = {row.method for row in raced.rows if (row.variant, row.mode) == ("against", mode)}
        assert texts[method, "against", mode] == texts["autoregressive", "published", mode]


def test_without_room_for_its_tokens_there_is_no_closing_benchmark_and_some_prompts_are_enough(finished) -> None:
    database, profile = finished
    target = small_target()
    lengths = [len(prompt_ids(prompt, target.tokenizer)) for prompt in SUITE.half("reporting")]
    room = target.max_context - max(lengths)
    asked = SETTINGS.changed({"bench": {"tokens": room + 1, "prompts": 99}})
    with open_repository(str(database)) as repository:
        context = begun(repository, str(database))
        too_many = asked.changed({"bench": {"tokens": target.max_context}})
        report = closing_bench(replace(context, settings=asked), profile, silent)
        nothing = closing_bench(replace(context, settings=too_many), profile, silent)
    assert report is not None
    assert report.environment["prompts"] == sum(length < max(lengths) for length in lengths) > 0
    assert report.environment["prompts_left_out"] == [], "they were not drawn"
    assert nothing is None


def test_the_closing_benchmark_replays_what_it_decodes_at_overheads_of_every_mode(finished) -> None:
    database, profile = finished
    other = SETTINGS.model_copy(update={"seed": 77})
    talks = tuple(prompt.model_copy(update={"turns": (*prompt.turns, "w1 w2")}) for prompt in SUITE.prompts)
    with open_repository(str(database)) as repository:
        source, _ = repository.calibration_of(profile.content_hash())
        context = replace(begun(repository, str(database), other), suite=SUITE.model_copy(update={"prompts": talks}))
        # What tuning by real decodes begins with: no overheads among it.
        take_over(repository, source, context.calibration_id)
        report = closing_bench(context, profile, silent)
        measured = repository.get_document(context.calibration_id, OVERHEAD_KIND, "all")
    assert {text.prompt_id for text in report.texts} <= {talk.id for talk in talks}, "first turns, as replayed"
    assert set(measured["by_mode"]) == {"sample", "greedy"}


def test_the_closing_benchmark_decodes_the_turns_that_are_recorded_and_cuts_as_they_are_cut(finished) -> None:
    database, profile = finished
    long = "w1 " * small_target().max_context
    talks = tuple(prompt.model_copy(update={"turns": (*prompt.turns, long)}) for prompt in SUITE.prompts)
    asked = SETTINGS.model_copy(update={"seed": 78}).changed({"record": {"turns": "all", "long": "cut"}})
    with open_repository(str(database)) as repository:
        source, _ = repository.calibration_of(profile.content_hash())
        context = replace(begun(repository, str(database), asked), suite=SUITE.model_copy(update={"prompts": talks}))
        take_over(repository, source, context.calibration_id)
        report = closing_bench(context, profile, silent)
    assert report is not None
    (first, later) = dict.fromkeys(text.prompt_id for text in report.texts)
    assert later == f"{first}#1"
    assert report.environment["prompts_cut"] == [later]
    assert set(report.replayed["sample"]) == {"overall", first.partition("/")[0]}
