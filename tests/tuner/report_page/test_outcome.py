"""The first half of the page: decision, cascade, and what was promised beside what was measured."""

from __future__ import annotations

from dataclasses import replace

from casspec.storage.predictions import BatchPrediction, TaskCascade
from casspec.storage.schema import BenchReport, DrafterSpec
from casspec.tuner.calibration_history import CalibrationHistory
from casspec.tuner.report_page import render_page
from tests.storage import samples
from tests.tuner.report_page.pages import Read, history, profile, report


def test_tasks_and_batches_are_listed_where_they_are_known() -> None:
    own = TaskCascade(drafters=("int8",), parameters={"max_nodes": 5}, decision="cascade", predicted_speedup={})
    batch = BatchPrediction(batch=8, decision="off", speedup={"greedy": 1.0}, tokens_per_s={"greedy": 412.3})
    changes = {"by_task": {"qa": own}, "task_gains": {"qa": 1.07, "rag": 1.0}, "predicted_by_batch": (batch,)}
    text = Read(render_page(history(predicted_by_task={"greedy": {"qa": 1.5}}, **changes))).text
    assert "qa int8 max_nodes 5 1.07×" in text
    assert "rag the one for all – 1.00×" in text
    assert "8 off greedy 1.00× extrapolated greedy 412" in text
    assert "greedy qa 1.50× – 1.20× +25.0%" in text


def test_a_prediction_is_listed_with_its_interval() -> None:
    known = CalibrationHistory(profile(predicted_interval={"greedy": (1.25, 1.75)}), reports=[samples.bench_report()])
    text = Read(render_page(known)).text
    assert "greedy overall 1.50× 1.25–1.75 1.60× -6.2%" in text
    assert "nine times out of ten" in text


def test_a_plan_kept_for_a_task_says_so() -> None:
    beside = {"cascade": False}
    drafters = (
        DrafterSpec(name="own", kind="self", parameters=beside),
        DrafterSpec(name="chain", kind="self", parameters=beside),
    )
    own = TaskCascade(drafters=("own",), parameters={}, decision="cascade", predicted_speedup={})
    text = Read(render_page(history(drafters=drafters, by_task={"qa": own}))).text
    assert "own in the cascade of qa" in text
    assert "chain for other methods" in text


def test_each_mode_stands_beside_the_newest_benchmark_of_it() -> None:
    def of_mode(mode: str, speedup: float, noise: float) -> BenchReport:
        rows = tuple(
            samples.bench_row(method, speedup=value, mode=mode)
            for method, value in (("autoregressive", 1.0), ("dytc", speedup))
        )
        environment = {"command_line": f"casspec bench --mode {mode}", "noise_by_mode": {mode: noise}}
        return samples.bench_report(rows=rows, environment=environment)

    older = of_mode("greedy", 1.1, 0.001), of_mode("sample", 1.9, 0.001)
    reports = [of_mode("greedy", 3.1, 0.012), of_mode("sample", 2.3, 0.034), *older]
    known = replace(history(predicted_speedup={"greedy": 2.9, "sample": 2.2}, predicted_by_task={}), reports=reports)
    assert known.newest_reports == reports[:2]
    page = render_page(known)
    text = Read(page).text
    assert "predicted, not measured" not in text
    assert "1.2% greedy" in text
    assert "3.4% sample" in text
    for mode in "greedy", "sample":
        assert f"casspec bench --mode {mode}" in text
        assert page.count(f'id="benchmark-{mode}"') == 1
    assert "1.10" not in text, "nothing of older benchmarks"


def test_a_page_tells_what_replay_says_of_the_prompts_that_were_measured() -> None:
    replayed = report().model_copy(update={"replayed": {"greedy": {"overall": 1.68}}})
    text = Read(render_page(replace(history(), reports=(replayed,)))).text
    assert "1.68×" in text
    assert "+5.0%" in text
    assert "the very prompts that were measured" in text
