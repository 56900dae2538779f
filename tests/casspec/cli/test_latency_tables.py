"""What `casspec profile` prints: errors as they are, the candidate that was chosen, and precisions with the reason against them."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, RenderableType

from casspec.cli.latency_tables import LARGEST_NOISE, checked, compared, error_rows, noise, planned, precisions
from casspec.profiler.design import Design, design
from casspec.profiler.precisions import QUERY_TOKENS, PrecisionVerdict
from casspec.profiler.report import Check, ErrorRow
from casspec.storage.schema import CandidateErrors, Precision
from tests.profiler.fakes import tiny_target
from tests.storage import samples


def lines(parts: Iterable[RenderableType]) -> list[str]:
    console = Console(width=160)
    with console.capture() as capture:
        for part in parts:
            console.print(part)
    return [" ".join(line.split()) for line in capture.get().splitlines()]


def test_a_plan_is_told_by_the_points_of_each_kind_and_takes_the_budget_at_least() -> None:
    target = tiny_target()
    plan: Design = design(target)
    told = lines(planned(plan, target, budget_seconds=500.0))
    attention = sum(point.subject == "attention" for point in plan.points)
    assert f"attention {attention} points" in told
    assert any(line.startswith("about 500 s (at the very least") for line in told)
    assert any(f"{len(plan.held_out)} points are held out" in line for line in told)


def test_errors_are_shares_and_what_misses_its_bound_is_above() -> None:
    assert "all 12 3.0% 7.5% 1.0%" in lines([error_rows([ErrorRow("all", 12, 0.03, 0.075, 0.01)])])
    told = lines([checked([Check("held-out", 0.02, 0.03), Check("plans", 0.04, 0.03)])])
    assert told[1:] == ["held-out 2.0% 3.0% within", "plans 4.0% 3.0% above"]


def test_the_chosen_candidate_has_a_star_and_what_was_not_judged_is_left_empty() -> None:
    pair = (0.01, 0.02)
    entries = [
        CandidateErrors(kind=kind, by_point=pair, by_plan=pair, by_context=pair, beyond=beyond)
        for kind, beyond in (("bayesian-linear", None), ("measured-table", (0.05, 0.1)))
    ]
    linear, table = lines([compared(entries, "measured-table")])[1:]
    assert linear == "bayesian-linear 1.0% / 2.0% 1.0% / 2.0% 1.0% / 2.0%"
    assert table.startswith("measured-table *")
    assert table.endswith("5.0% / 10.0%")


def test_a_noisy_machine_is_advised_to_measure_again() -> None:
    calm = samples.latency_model().model_copy(update={"test_retest": LARGEST_NOISE})
    noisy = calm.model_copy(update={"test_retest": 2 * LARGEST_NOISE})
    assert len(lines(noise(calm, 0.1))) == 1
    assert any("--force" in line for line in lines(noise(noisy, 0.1)))


def test_a_refused_precision_says_why() -> None:
    offered = PrecisionVerdict(
        precision=Precision.INT8_DYNAMIC, extra_bytes=3 << 20, ratios=dict.fromkeys(QUERY_TOKENS, 0.5)
    )
    refused = PrecisionVerdict(precision=Precision.INT4_WEIGHT, reason="no kernel here")
    told = lines(precisions([offered, refused]))
    assert told[1] == f"int8-dynamic {' '.join(['0.50'] * len(QUERY_TOKENS))} 3 MiB yes"
    assert told[2] == "int4-weight no"
    assert told[-1] == "int4-weight is not offered: no kernel here"
