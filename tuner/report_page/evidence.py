"""The second half of a page: what the decision rests on. Search, latency model, benchmark, environment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from casspec.profiler.figures import fit_figure, roofline_figure
from casspec.profiler.report import Predicted, as_stored, error_row, grouped_errors
from casspec.storage.schema import OVERALL, BenchReport, BenchRow, LatencyModel, Mode, Precision
from casspec.tuner.bench.figures import time_figure
from casspec.tuner.bench.report import FIGURES, caption, label, remarks
from casspec.tuner.calibration_history import CalibrationHistory
from casspec.tuner.report_page.charts import history_figure, overall_figure
from casspec.tuner.report_page.parts import NONE, Drawing, Part, Section, Table, Text
from casspec.tuner.report_page.reproduce import reproduction
from casspec.tuner.report_page.svg import inline_svg
from casspec.tuner.search.figures import pareto_figure, sensitivity_figure
from casspec.tuner.search.pareto import hypervolume, pareto_front
from casspec.tuner.search.plan_spec import PlanSpec


def search_section(calibrated: CalibrationHistory) -> Section | None:
    candidates = calibrated.candidates
    if not candidates:
        return None
    n_layers = calibrated.profile.model.n_layers
    front = pareto_front(candidates)
    best = front[-1]
    told = (
        f"{len(candidates)} drafters were evaluated in {sum(c.seconds for c in candidates):.0f} s; {len(front)} of them are on the "
        f"Pareto front, which dominates {hypervolume(candidates):.3f} of the area below a cost of one step of the target."
    )
    pareto = (
        f"Acceptance over cost of {len(candidates)} drafters. The front leads from cost {front[0].cost:.2f} at acceptance "
        f"{front[0].acceptance:.2f} to cost {best.cost:.2f} at acceptance {best.acceptance:.2f}."
    )
    rows = [
        (
            PlanSpec.of(candidate).name,
            candidate.source,
            f"{len(candidate.skip.attention)}",
            f"{len(candidate.skip.mlp)}",
            f"{candidate.acceptance:.3f}",
            f"{candidate.acceptance_spread:.3f}",
            f"{candidate.cost:.3f}",
            f"{candidate.step_ms:.2f}",
        )
        for candidate in front
    ]
    header = ("drafter", "source", "attention", "MLP", "acceptance", "±", "cost", "ms a step")
    parts: list[Part] = [
        Text(told),
        Drawing(inline_svg(pareto_figure(candidates), "pareto", pareto), "Every drafter evaluated, and the front"),
        Table("The front, by rising cost; sub-layers left out of each kind", header, rows, figures=6, folded=True),
        _sensitivity(calibrated, n_layers),
        Drawing(
            inline_svg(history_figure(candidates), "history", f"Search history over {len(candidates)} trials. {told}"),
            "The search in order: hypervolume of the front so far above, every trial's acceptance below",
        ),
    ]
    return Section("search", "Search", parts)


def latency_section(calibrated: CalibrationHistory) -> Section:
    model, samples = calibrated.profile.latency, calibrated.samples
    low, high = model.fitted_context_tokens
    parts: list[Part] = [
        Text(
            f"Fitted on {model.n_points} points, contexts {low} to {high:,} tokens. Cross-validated relative error: median "
            f"{model.cv_median_error:.1%}, 90th percentile {model.cv_p90_error:.1%}. A point measured twice differs by "
            f"{model.test_retest:.1%}."
        )
    ]
    if model.candidates:
        parts.append(_candidates(model))
    if samples:
        alt = f"Predicted against measured milliseconds of {len(samples)} points, on the diagonal where they agree."
        parts.append(
            Drawing(
                inline_svg(fit_figure(samples, model), "latency", alt),
                "Predicted against measured time of every point; bars span the quartiles",
            )
        )
        roofline = (
            "Operations a second over operations a byte of the target's own forwards, below the device's ceilings."
        )
        parts.append(
            Drawing(
                inline_svg(roofline_figure(samples, model), "roofline", roofline),
                "Roofline: left of the ridge memory bounds a forward, right of it arithmetic",
            )
        )
    if known := as_stored(samples, model):
        parts.append(
            Table(
                "Relative error of the stored model on all measured forwards, those it was fitted on included",
                ("forwards", "how many", "median", "90th percentile"),
                error_rows(known, model),
                figures=3,
            )
        )
    ceilings = calibrated.profile.device.ceilings
    if ceilings is not None:
        rates = [(f"matrix product, {dtype}", f"{rate:,.3g} TFLOP/s") for dtype, rate in ceilings.matmul_tflops.items()]
        rows = [("memory", f"{ceilings.bandwidth_gb_per_s:,.3g} GB/s"), *rates]
        rows.append(("smallest kernel call", f"{ceilings.launch_us:,.3g} µs"))
        parts.append(Table("Ceilings of the device, measured", ("what", "at best"), rows, figures=1))
    return Section("latency", "Latency model", parts)


def _candidates(model: LatencyModel) -> Table:
    """What was compared, each point predicted without what the column names."""

    def cell(errors: tuple[float, float] | None) -> str:
        return NONE if errors is None else f"{errors[0]:.1%} ({errors[1]:.1%})"

    rows = [
        (
            f"{one.kind}, chosen" if one.kind == model.kind else one.kind,
            *(cell(errors) for errors in (one.by_point, one.by_plan, one.by_context, one.beyond)),
        )
        for one in model.candidates
    ]
    header = ("method", "points", "plan", "context", "twice the context")
    return Table("Median error (90th percentile) of each method on points left out of its fit", header, rows, figures=4)


def error_rows(known: Sequence[Predicted], model: LatencyModel) -> list[tuple[str, str, str, str]]:
    """(group, points, median, 90th percentile) of relative errors by plan, query tokens and context, then of all."""
    rows = [row for _, grouped in grouped_errors(known, model) for row in grouped]
    return [
        (row.group, str(row.n_points), f"{row.median_error:.1%}", f"{row.p90_error:.1%}")
        for row in (*rows, error_row("all", known))
    ]


def bench_section(report: BenchReport) -> Section:
    modes = _modes(report)
    parts: list[Part] = []
    for mode in modes:
        overall = [row for row in report.rows if row.mode == mode and row.task == OVERALL]
        if not overall:
            continue
        speedups = ", ".join(f"{label(row)} {row.speedup:.2f}" for row in overall)
        parts.append(
            Drawing(
                inline_svg(
                    overall_figure(report, mode), f"speedup-{mode}", f"Speedups over all tasks, {mode}: {speedups}."
                ),
                f"{mode}: speedup over all tasks; {caption(report, mode)}",
            )
        )
        alt = f"Milliseconds a token of each method, {mode}: drafting, verification, everything else."
        parts.append(
            Drawing(inline_svg(time_figure(report, mode), f"time-{mode}", alt), f"{mode}: where a token's time goes")
        )
        parts.append(_bench_table(f"{mode}, all tasks", overall, folded=False))
        for task in dict.fromkeys(row.task for row in report.rows if row.mode == mode and row.task != OVERALL):
            rows = [row for row in report.rows if (row.mode, row.task) == (mode, task)]
            parts.append(_bench_table(f"{mode}, {task}: {rows[0].n_prompts} prompts", rows, folded=True))
    parts += [Text(line[0].upper() + line[1:] + ".") for line in remarks(report)]
    return Section(f"benchmark-{modes[0]}", f"Benchmark of {report.created_at[:10]}: {' and '.join(modes)}", parts)


def origin_section(calibrated: CalibrationHistory) -> Section:
    parts: list[Part] = [reproduction(calibrated)]
    for report in calibrated.newest_reports:
        title = f"Environment of the benchmark, {' and '.join(_modes(report))}"
        parts.append(Table(title, ("what", "value"), _environment(report)))
    if calibrated.settings:
        settings = [(name.replace("_", " "), _plain(value)) for name, value in calibrated.flat_settings.items()]
        parts.append(Table("Settings of the calibration", ("setting", "value"), settings, folded=True))
    return Section("origin", "Environment and how to reproduce", parts)


def _sensitivity(calibrated: CalibrationHistory, n_layers: int) -> Drawing:
    candidates = calibrated.candidates
    singles = [c for c in candidates if len(c.skip) == 1 and c.quantization.precision is Precision.TARGET]
    alt = "Acceptance that remains when one sub-layer is left out, by layer."
    if singles:
        dearest = min(singles, key=lambda c: c.acceptance)
        kind, layers = ("attention", dearest.skip.attention) if dearest.skip.attention else ("MLP", dearest.skip.mlp)
        alt += f" Most is lost without {kind} {layers[0]}: {dearest.acceptance:.2f} remains."
    svg = inline_svg(sensitivity_figure(candidates, n_layers), "sensitivity", alt)
    return Drawing(svg, "Acceptance that remains when one sub-layer is left out")


def _bench_table(title: str, rows: Sequence[BenchRow], folded: bool) -> Table:
    cells = [(label(row), *(figure(row) for figure in FIGURES.values())) for row in rows]
    return Table(title, ("method", *FIGURES), cells, figures=len(FIGURES), folded=folded)


def _modes(report: BenchReport) -> list[Mode]:
    return list(dict.fromkeys(row.mode for row in report.rows))


def _environment(report: BenchReport) -> list[tuple[str, str]]:
    """Plain entries in the report's order; the model and device are told elsewhere."""
    told_elsewhere = {"model", "device", "divergences", "prompts_left_out", "turns_left_out"}
    return [
        (key.replace("_", " "), _plain(value)) for key, value in report.environment.items() if key not in told_elsewhere
    ]


def _plain(value: Any) -> str:
    if value is None:
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
