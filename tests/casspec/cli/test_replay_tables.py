"""Tables of `casspec replay`: a column a task with all of them last, and gaps beside those of unchanged texts."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from casspec.cli.replay_tables import bound_table, gap_table, replay_table
from casspec.storage.schema import OVERALL
from casspec.tuner.replay.reality import Gap
from casspec.tuner.replay.run import Bounds, Predicted

ABOUT: dict[str, Any] = {"batch": 1, "status": "predicted", "model": "tiny", "half": "tuning", "benchmark_noise": 0.01}


def lines(table: Table) -> list[str]:
    console = Console(width=160)
    with console.capture() as capture:
        console.print(table)
    return [" ".join(line.split()) for line in capture.get().splitlines()]


def predicted(task: str, speedup: float, method: str = "dytc", variant: str = "tuned") -> Predicted:
    return Predicted(method, variant, "greedy", task, speedup, 2.5, 1.0, 8.0, 4, 100)


def gap(n_prompts: int, measured: float, variant: str = "tuned", task: str = OVERALL) -> Gap:
    return Gap("dytc", variant, "greedy", task, 2.0, measured, 3.0, 2.5, n_prompts)


def test_all_tasks_together_are_the_last_column_and_a_task_without_a_figure_stays_empty() -> None:
    rows = [predicted(OVERALL, 1.5), predicted("qa", 1.25), predicted(OVERALL, 1.1, "suffix", "published")]
    *title, header, tuned, published = lines(replay_table(rows, ABOUT))
    assert "predicted: tiny, tuning half" in " ".join(title)
    assert header == f"mode method qa {OVERALL}"
    assert tuned == "greedy dytc (tuned) 1.25x (2.50) 1.50x (2.50)"
    assert published == "greedy suffix 1.10x (2.50)"


def test_a_batch_is_named_where_it_is_one() -> None:
    assert "batch" not in " ".join(lines(replay_table([predicted("qa", 1.0)], ABOUT)))
    assert "predicted, batch 8: tiny" in " ".join(lines(replay_table([predicted("qa", 1.0)], ABOUT | {"batch": 8})))


def test_what_dytc_reaches_of_the_bound_is_told_where_it_was_replayed() -> None:
    reached = lines(bound_table([Bounds("greedy", OVERALL, 2.0, 4.0, 0.75)]))
    assert reached[-3:] == ["greedy menu bound 2.00x", "greedy clairvoyant 4.00x", "greedy dytc of the menu bound 75%"]
    assert lines(bound_table([Bounds("greedy", OVERALL, 2.0, 4.0, None)]))[-1] == "greedy clairvoyant 4.00x"


def test_gaps_of_unchanged_texts_stand_below_where_some_changed() -> None:
    rows = [gap(4, 1.6), gap(4, 9.0, task="qa"), gap(2, 2.0, "published")]
    told = lines(gap_table(rows, [gap(3, 2.0), gap(2, 2.0, "published")], ABOUT))[2:]
    assert told == [
        "greedy dytc (tuned) 2.00x 1.60x +25.0% 3.00 2.50 +20.0% 4",
        "texts as recorded 2.00x 2.00x +0.0% 3.00 2.50 +20.0% 3",
        "greedy dytc 2.00x 2.00x +0.0% 3.00 2.50 +20.0% 2",
    ]
