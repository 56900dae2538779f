"""The page of a calibration: whole, self-contained, readable by a machine that reads aloud, and true to the store."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from casspec.profiler.report import as_stored
from casspec.storage.predictions import BatchPrediction, TaskCascade
from casspec.storage.schema import BenchReport, CascadeProfile, DrafterSpec, Precision, Quantization
from casspec.tuner.bench.predicted_vs_measured import Compared, compare
from casspec.tuner.calibration_history import CalibrationHistory
from casspec.tuner.report_page import render_page
from casspec.tuner.report_page.evidence import error_rows
from casspec.tuner.settings import CalibrationSettings
from tests.profiler.fakes import SHAPE
from tests.storage import samples

EMPTY_ELEMENTS = {"meta", "link", "br", "img", "hr"}


class Read(HTMLParser):
    """What a browser would see: elements with their attributes, text, and whether every element was closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in EMPTY_ELEMENTS:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


def profile(**changes: object) -> CascadeProfile:
    latency = samples.latency_model().model_copy(
        update={"features": ("constant",), "coefficients": (1.0,), "shape": SHAPE | {"launch_ms": 2.0}}
    )
    return samples.profile(latency=latency, **changes)


def report() -> BenchReport:
    speedups = {"overall": 1.6, "qa": 1.2}
    rows = tuple(
        samples.bench_row(method, task, speedup=speedup if method == "dytc" else 1.0)
        for task, speedup in speedups.items()
        for method in ("autoregressive", "dytc")
    )
    about = {"dtype": "float32", "threads": 2, "command_line": "casspec bench --methods dytc"}
    return samples.bench_report(rows=rows, environment=about)


def calibrated(**changes: object) -> CalibrationHistory:
    int8 = Quantization(precision=Precision.INT8_DYNAMIC)
    return CalibrationHistory(
        profile=profile(**changes),
        calibration_id="0123-1",
        settings=CalibrationSettings(suite="reference", suite_sha256="", seed=3)
        .changed({"search": {"trials": 12}})
        .model_dump(mode="json"),
        candidates=[
            samples.candidate((2,), acceptance=0.6),
            samples.candidate((3,), acceptance=0.5),
            samples.candidate((3,), acceptance=0.7, source="tpe", quantization=int8),
        ],
        samples=[samples.sample(n_tokens) for n_tokens in (1, 2, 4)],
        reports=[report()],
        verdicts={"int8-dynamic": {"reason": "no kernel beats the target's own"}, "int4-weight": {"reason": None}},
    )


@pytest.fixture(scope="module")
def page() -> str:
    return render_page(calibrated())


def test_nothing_is_loaded_from_elsewhere(page: str) -> None:
    read = Read(page)
    loading = {"script", "link", "img", "iframe", "object", "embed", "source", "image"}
    assert {tag for tag, _ in read.elements} & loading == set()
    targets = [value for _, attributes in read.elements for name, value in attributes.items() if name.endswith("href")]
    assert targets
    assert {target[0] for target in targets} == {"#"}
    assert re.findall(r"url\((?!#)|@import", page) == []


def test_references_inside_the_page_lead_to_one_place_each(page: str) -> None:
    read = Read(page)
    ids = Counter(attributes["id"] for _, attributes in read.elements if "id" in attributes)
    assert [name for name, count in ids.items() if count > 1] == []
    named = {
        value[1:] for _, attributes in read.elements for name, value in attributes.items() if name.endswith("href")
    }
    named |= set(re.findall(r"url\(#([\w-]+)\)", page))
    named |= {attributes["aria-labelledby"] for attributes in read.all("section")}
    assert named - set(ids) == set()


def test_figures_are_told_in_words_and_tables_name_their_rows_and_columns(page: str) -> None:
    read = Read(page)
    charts = [attributes for attributes in read.all("svg") if attributes.get("role") == "img"]
    assert len(charts) == len(read.all("svg")) == 8
    assert min(len(attributes["aria-label"]) for attributes in charts) > 40
    assert {attributes.get("scope") for attributes in read.all("th")} == {"col", "row"}
    assert len(read.all("caption")) == len(read.all("table"))


def test_charts_take_the_colours_of_the_page(page: str) -> None:
    drawings = "".join(re.findall(r"<svg.*?</svg>", page, re.DOTALL))
    assert "#000000" not in drawings
    assert "#ffffff" not in drawings
    assert "prefers-color-scheme: dark" in page


def test_the_page_tells_what_the_store_knows(page: str) -> None:
    text = Read(page).text
    for expected in (
        "tiny on test processor, float32",
        "Decision: cascade",
        "int8-dynamic is not offered to drafters: no kernel beats the target's own.",
        "sparse-40 in the cascade",
        "greedy overall 1.50× – 1.60× -6.2%",
        "greedy qa – – 1.20× –",
        "3 drafters were evaluated",
        "casspec calibrate tiny --dtype float32 --threads 2 --seed 3 --trials 12 casspec bench --methods dytc",
        "max_nodes 16",
    ):
        assert expected in text, expected
    assert "int4-weight is not offered" not in text


def test_names_are_no_markup() -> None:
    page = render_page(calibrated(model=samples.model(name="<script>alert(1)</script>"), suite="a & b"))
    assert Read(page).all("script") == []
    assert "a & b, seed 0" in Read(page).text


def test_tasks_are_no_mathematics() -> None:
    tasks = (r"a $\frac$ b", "5 $")
    rows = tuple(samples.bench_row("dytc", task) for task in ("overall", *tasks))
    known = CalibrationHistory(profile(), reports=[samples.bench_report(rows=rows)])
    drawn = re.sub(r"&#39;|\s+", " ", Read(render_page(known)).text)
    for task in tasks:
        assert drawn.count(f"greedy, {task}") >= 2  # in the chart, and in the words for it


def test_an_imported_profile_has_a_page_of_what_it_brings() -> None:
    text = Read(render_page(CalibrationHistory(profile(decision="off", predicted_speedup={})))).text
    assert "Decision: off" in text
    assert "This profile was imported" in text
    assert "Pareto" not in text


def test_tasks_and_batches_are_listed_where_they_are_known() -> None:
    own = TaskCascade(drafters=("int8",), parameters={"max_nodes": 5}, decision="cascade", predicted_speedup={})
    batch = BatchPrediction(batch=8, decision="off", speedup={"greedy": 1.0})
    changes = {"by_task": {"qa": own}, "task_gains": {"qa": 1.07, "rag": 1.0}, "predicted_by_batch": (batch,)}
    text = Read(render_page(calibrated(predicted_by_task={"greedy": {"qa": 1.5}}, **changes))).text
    assert "qa int8 max_nodes 5 1.07×" in text
    assert "rag the one for all – 1.00×" in text
    assert "8 off greedy 1.00× extrapolated no" in text
    assert "greedy qa 1.50× – 1.20× +25.0%" in text


def test_acceptance_by_depth_is_told_with_the_trials_it_comes_from() -> None:
    known = calibrated()
    (drafter, *_) = known.profile.drafters
    found = samples.candidate().model_copy(update={"skip": drafter.skip, "acceptance_by_depth": (0.75, 1.0)})
    counted = found.model_copy(update={"trials_by_depth": (64, 16)})
    text = Read(render_page(replace(known, candidates=[counted]))).text
    assert "from n tokens scored so deep" in text
    assert "sparse-40 0.75 (n 64) 1.00 (n 16)" in text
    assert "scored so deep" not in Read(render_page(replace(known, candidates=[found]))).text


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
    text = Read(render_page(calibrated(drafters=drafters, by_task={"qa": own}))).text
    assert "own in the cascade of qa" in text
    assert "chain for other methods" in text


def test_the_gap_is_between_what_is_known_of_both() -> None:
    told = profile(predicted_speedup={"greedy": 2.0, "sample": 1.5}, predicted_by_task={"greedy": {"rag": 3.0}})
    without = samples.bench_report(rows=(samples.bench_row("autoregressive"),))
    compared = compare(told, [without, report()])
    assert compared == [
        Compared("sample", "overall", 1.5, None),
        Compared("greedy", "overall", 2.0, 1.6, 1.0, 4, noise=0.01),
        Compared("greedy", "qa", None, 1.2, 1.0, 4, noise=0.01),
        Compared("greedy", "rag", 3.0, None, noise=0.01),
    ]
    assert [row.gap for row in compared] == [None, pytest.approx(0.25), None, None]
    replayed = report().model_copy(update={"replayed": {"greedy": {"overall": 1.68, "qa": 1.26}}})
    gaps = {(row.mode, row.task): row.gap for row in compare(told, [replayed])}
    assert gaps["greedy", "overall"] == pytest.approx(0.05), "of the prompts that were measured"
    assert gaps["greedy", "qa"] == pytest.approx(0.05)
    assert gaps["sample", "overall"] is gaps["greedy", "rag"] is None


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
    known = replace(calibrated(predicted_speedup={"greedy": 2.9, "sample": 2.2}, predicted_by_task={}), reports=reports)
    measured = {row.mode: (row.measured, row.noise) for row in compare(known.profile, reports)}
    assert measured == {"greedy": (3.1, 0.012), "sample": (2.3, 0.034)}
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
    text = Read(render_page(replace(calibrated(), reports=(replayed,)))).text
    assert "1.68×" in text
    assert "+5.0%" in text
    assert "the very prompts that were measured" in text


def test_latency_errors_are_at_the_pace_the_model_predicts_and_in_order() -> None:
    measured = [
        samples.sample(n_tokens, value).model_copy(update={"slowdown": 1.25})
        for n_tokens, value in ((1, 2.0), (4, 1.0), (20, 4.0))
    ]
    latency = profile().latency  # predicts 2 ms for everything; medians are 1.1 times the value
    rows = error_rows(as_stored(measured, latency), latency)
    assert [row[:3] for row in rows] == [
        ("plan: the target", "3", "54.5%"),
        ("tokens  1", "1", "9.1%"),
        ("tokens  2 to 8", "1", "81.8%"),
        ("tokens  9 to 32", "1", "54.5%"),
        ("context from 64", "3", "54.5%"),
        ("all", "3", "54.5%"),
    ]
