"""What the tables of `casspec profiles` tell of a profile."""

from __future__ import annotations

from collections.abc import Callable

from casspec.storage import open_repository
from casspec.storage.predictions import BatchPrediction, TaskCascade
from casspec.storage.schema import DrafterSpec, Precision, Quantization, SkipSet
from tests.storage import samples

Run = Callable[..., tuple[int, str, str]]


def test_show_tells_predictions_by_task_and_batch(run: Run, storage: str) -> None:
    with open_repository(storage) as repository:
        own = TaskCascade(drafters=("quick",), decision="cascade", predicted_speedup={"greedy": 2.5})
        repository.save_profile(
            None,
            samples.profile(
                predicted_interval={"greedy": (1.25, 1.75)},
                predicted_by_task={"greedy": {"rewrite": 2.25, "tests": 1.5}},
                by_task={"rewrite": own},
                task_gains={"rewrite": 1.07, "tests": 0.99},
                predicted_by_batch=(BatchPrediction(batch=8, decision="retrieval-only", speedup={"greedy": 1.31}),),
            ),
        )
    lines = run("profiles", "show")[1].splitlines()
    assert any("(1.25-1.75)" in line for line in lines)
    assert next(line for line in lines if line.startswith("rewrite")).split() == ["rewrite", "2.25x", "quick", "+7.0%"]
    assert next(line for line in lines if line.startswith("tests")).rstrip().endswith("the one for all  -1.0%")
    assert next(line for line in lines if line.startswith("8 ")).split()[1:4] == ["retrieval-only", "greedy", "1.31x"]


def test_show_counts_the_memory_of_a_precision_once(run: Run, storage: str) -> None:
    int8 = Quantization(precision=Precision.INT8_DYNAMIC, extra_bytes=3 * 2**20)
    specs = [DrafterSpec(name=f"int8-{i}", kind="self", skip=SkipSet(mlp=(i,)), quantization=int8) for i in (1, 2)]
    with open_repository(storage) as repository:
        repository.save_profile(None, samples.profile(drafters=tuple(specs)))
    table = run("profiles", "show")[1]
    assert "3.0 MiB of quantised weights" in table
    assert "int8-dynamic" in table


def test_compare_shows_drafters_parameters_speedups_and_latency_errors(run: Run, stored) -> None:
    table = run("profiles", "compare", *(profile.profile_id for profile in stored))[1]
    told = {line.split("  ")[0].strip(): line.split() for line in table.splitlines()}
    assert told["drafters"][1] == "sparse-40,"
    assert told["dytc"][1:] == ["max_nodes=16", "max_nodes=16"]
    assert told["measured speedup"][-1] == "-"
    assert told["measured speedup"][2:4] == ["greedy", "1.60x"]
    assert told["predicted speedup"][2:6] == ["greedy", "1.50x,", "sample", "1.40x"]
    assert told["latency p90 error"][-1] == "8.0%"
