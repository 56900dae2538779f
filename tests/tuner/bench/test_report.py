"""Reports in every format."""

from __future__ import annotations

import csv
import io
import json

from rich.console import Console

from casspec.storage.schema import BenchReport, BenchRow
from casspec.tuner.bench.lossless.check import LosslessRow
from casspec.tuner.bench.lossless.judge import Difference
from casspec.tuner.bench.report import (
    bench_csv,
    bench_json,
    bench_markdown,
    bench_table,
    caption,
    divergence_line,
    lossless_csv,
    lossless_json,
    lossless_markdown,
    lossless_table,
    noise_line,
    remarks,
    repetition_line,
)
from tests.storage.samples import bench_report, bench_row

PROTOCOL_FIELDS = {
    "method", "variant", "task", "mode", "speedup", "speedup_specbench", "tokens_per_second", "mean_acceptance_length",
    "acceptance_rate", "lossless", "forward_ms", "draft_ms", "verify_ms", "overhead_ms", "overhead_percent",
    "tree_nodes", "repetition", "n_prompts", "n_tokens", "spread",
}  # fmt: skip


def report(**changes: object) -> BenchReport:
    rows = tuple(
        bench_row(method, task, variant=variant, speedup=speedup, lossless=lossless, divergences=divergences)
        for task in ("completion", "overall")
        for method, variant, speedup, lossless, divergences in (
            ("autoregressive", "published", 1.0, True, 0),
            ("prompt-lookup", "tuned", 1.375, None, 3),
            ("dytc", "tuned", 1.625, False, 1),
            ("transformers-prompt-lookup", "peer", 0.875, None, 0),
        )
    )
    return bench_report(rows=rows, **changes)


def rendered(table: object, width: int = 80) -> str:
    console = Console(width=width, file=io.StringIO())
    console.print(table)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_json_is_one_line_of_the_protocols_schema() -> None:
    text = bench_json(report())
    document = json.loads(text)
    assert "\n" not in text
    assert set(document) == {"schema", "rows", "environment"}
    assert document["schema"] == 1
    assert all(set(row) >= PROTOCOL_FIELDS for row in document["rows"])
    assert document["rows"][-1]["task"] == "overall"
    assert document["environment"]["noise"] == 0.01


def test_table_fits_80_columns_with_every_figure_whole() -> None:
    text = rendered(bench_table(report()))
    assert "…" not in text
    lines = [line.split() for line in text.splitlines()]
    assert ["prompt-lookup", "(tuned)", "1.38x", "1.00", "1.0", "1.0", "%", "1", "3", "differ"] in lines
    assert any(line[:2] == ["dytc", "(tuned)"] and line[-1] == "NO" for line in lines)
    assert any(line[:1] == ["autoregressive"] and line[-1] == "yes" for line in lines)
    assert text.index("greedy, completion") < text.index("greedy, overall")


def test_every_figure_of_many_methods_fits_120_columns() -> None:
    rows = tuple(
        bench_row(f"a-known-method-{place}", task, variant=variant, overhead_us_per_step=12345.0, repetition=0.081)
        for task in ("summarization", "overall")
        for place in range(19)
        for variant in ("published", "tuned")
    )
    text = rendered(bench_table(bench_report(rows=rows)), width=120)
    lines = text.splitlines()
    assert "…" not in text
    assert len(lines) == 1 + 2 * (3 + len(rows) // 2)
    assert max(map(len, lines)) <= 120
    assert {"+prefill", "specbench", "spread", "rate", "nodes"} <= set(lines[3].split())
    assert "greedy, summarization: 4 prompts, 512 tokens, repetition 8.1%" in lines


def test_the_caption_says_what_the_figures_hold_for() -> None:
    environment = {
        "model": {"name": "testbed:1536"},
        "device": {"kind": "cpu", "name": "a processor"},
        "threads": 8,
        "dtype": "bfloat16",
        "temperature": 0.7,
    }
    words = "testbed:1536, a processor, 8 threads, bfloat16, sampling at temperature 0.7"
    both = bench_report(rows=(bench_row(mode="sample"), bench_row(mode="greedy")), environment=environment)
    assert words in rendered(bench_table(both), width=200)
    assert caption(both, "sample").endswith("at temperature 0.7")
    assert caption(both, "greedy").endswith("8 threads, bfloat16")
    assert caption(report(environment=environment)).endswith("8 threads, bfloat16"), "all rows are greedy"


def test_the_rule_against_loops_is_told_for_the_suite_that_follows_it() -> None:
    assert "more than 20%" in repetition_line(report(environment={"suite": "reference"}))
    assert "more than" not in repetition_line(report(environment={"suite": "questions"}))


def test_csv_and_markdown_hold_every_row() -> None:
    rows = list(csv.DictReader(io.StringIO(bench_csv(report()))))
    assert list(rows[0]) == list(BenchRow.model_fields)
    assert [(row["method"], float(row["speedup"])) for row in rows[:2]] == [
        ("autoregressive", 1.0),
        ("prompt-lookup", 1.375),
    ]
    header, rule, *body = bench_markdown(report()).splitlines()
    assert len(body) == len(report().rows)
    assert {line.count("|") for line in (header, rule, *body)} == {17}


def test_noise_above_three_percent_asks_for_a_repeat() -> None:
    assert "repeat" not in noise_line(report(noise=0.03))
    assert "repeat" in noise_line(report(noise=0.031))


def test_prompts_that_were_cut_are_counted() -> None:
    about = report().environment | {"max_new_tokens": 64, "prompts_cut": ["a", "b#1"]}
    (line,) = [line for line in remarks(report(environment=about)) if "cut at the front" in line]
    assert line == "cut at the front, to leave room for 64 new tokens: 2 prompts; the JSON names them"


def test_divergences_are_summed_up_with_their_widest_gap() -> None:
    assert divergence_line(report()) is None
    found = [
        {"place": 40, "gap": 0.01, "units": 0.1},
        {"place": 17, "gap": 0.25, "units": 2},
        {"place": 30, "gap": None, "units": None},
    ]
    assert divergence_line(report(environment={"divergences": found})).startswith(
        "3 texts leave the autoregressive one, the first after 17 tokens, widest gap of log p~ + g 0.25 nats (2.0 units in the last place)"
    )


def test_verdicts_in_every_format() -> None:
    bug = Difference(place=3, reference=1, found=2, gap=0.5, units=1.5)
    rows = [LosslessRow("dytc", "tuned", "sample", 100), LosslessRow("lossy", "published", "greedy", 4, [bug])]
    assert [line.split()[-1] for line in rendered(lossless_table(rows)).splitlines()[2:]] == ["yes", "NO"]
    assert lossless_csv(rows).splitlines()[1:] == [
        "dytc,tuned,sample,100,0,True",
        "lossy,published,greedy,4,0,False",
    ]
    assert lossless_markdown(rows).splitlines()[-1] == "| lossy | published | greedy | 4 | 0 | False |"
    document = json.loads(lossless_json(rows, {"seed": 0}))
    assert document["rows"][1]["differences"] == [{"place": 3, "reference": 1, "found": 2, "gap": 0.5, "units": 1.5}]
    assert [row["lossless"] for row in document["rows"]] == [True, False]
