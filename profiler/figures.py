"""Figures of the latency fit. Matplotlib is imported when one is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from casspec.profiler.report import cross_validated, grouped_errors
from casspec.profiler.slowdown import at_median_slowdown
from casspec.runtime.latency.features import roofline_of
from casspec.runtime.latency.predictor import LatencyPredictor
from casspec.storage.schema import LatencyModel, LatencySample, Precision

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLORS = {"attention": "tab:blue", "mlp": "tab:orange", "drafter": "tab:green", "forward": "tab:red"}
GROUP_COLORS = {"plan": "tab:green", "tokens": "tab:blue", "context": "tab:orange", "batch": "tab:red"}


def fit_figure(samples: Sequence[LatencySample], model: LatencyModel) -> Figure:
    """Predicted against measured milliseconds by kind of point, both axes logarithmic; bars span the quartiles."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    predictor = LatencyPredictor(model)
    samples = at_median_slowdown(samples)
    figure = Figure(figsize=(5.5, 5), layout="constrained")
    axes = figure.subplots()
    for subject, color in COLORS.items():
        chosen = [sample for sample in samples if sample.point.subject == subject]
        if not chosen:
            continue
        measured = [sample.measurement.median_ms for sample in chosen]
        below = [sample.measurement.median_ms - sample.measurement.quantile(0.25) for sample in chosen]
        above = [sample.measurement.quantile(0.75) - sample.measurement.median_ms for sample in chosen]
        predicted = [predictor.predict_ms(sample.point) for sample in chosen]
        axes.errorbar(measured, predicted, xerr=(below, above), fmt="o", ms=4, lw=0.8, color=color, label=subject)
    medians = [sample.measurement.median_ms for sample in samples]
    ends = (min(medians), max(medians))
    axes.plot(ends, ends, color="black", lw=0.8)
    axes.set(xscale="log", yscale="log", xlabel="measured, ms", ylabel="predicted, ms")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("")
    axes.set_title(
        f"cross-validated median error {model.cv_median_error:.1%}, test-retest {model.test_retest:.1%}", fontsize=10
    )
    axes.legend()
    return figure


def error_figure(samples: Sequence[LatencySample], model: LatencyModel, seed: int = 0) -> Figure:
    """Cross-validated errors by plan, query tokens, context and batch: a bar for the median, a mark for the 90th percentile.

    Of `fitted_samples` it shows what `error_table` says with the same seed.
    """
    from matplotlib.figure import Figure

    groups = grouped_errors(cross_validated(at_median_slowdown(samples), model, seed), model)
    rows = [(name, row) for name, found in groups for row in found]
    figure = Figure(figsize=(6.5, 1.2 + 0.32 * len(rows)), layout="constrained")
    axes = figure.subplots()
    places = range(len(rows), 0, -1)
    colors = [GROUP_COLORS[name] for name, _ in rows]
    axes.barh(places, [100 * row.median_error for _, row in rows], color=colors, height=0.6, label="median")
    axes.plot([100 * row.p90_error for _, row in rows], places, "k|", ms=10, label="90th percentile")
    axes.axvline(100 * model.test_retest, color="black", lw=0.8, ls=":", label="test-retest")
    axes.set_yticks(places, [f"{row.group} ({row.n_points})" for _, row in rows])
    axes.set(xlabel="relative error, %", title=f"{model.kind}, each point predicted without it")
    axes.legend(fontsize=8)
    return figure


def roofline_figure(samples: Sequence[LatencySample], model: LatencyModel) -> Figure:
    """Operations a second over operations a byte of the target's own forwards, under the device's measured ceilings.

    The roofline model (Williams et al. 2009): left of the ridge the memory bounds a forward, right of it the arithmetic.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4.5), layout="constrained")
    axes = figure.subplots()
    intensities = []
    for subject, color in COLORS.items():
        chosen = [
            sample
            for sample in at_median_slowdown(samples)
            if sample.point.subject == subject and sample.point.precision is Precision.TARGET
        ]
        counts = [roofline_of(sample.point, model.shape) for sample in chosen]
        intensity = [operations / n_bytes for operations, n_bytes in counts]
        rate = [
            operations / sample.measurement.median_ms / 1e6
            for (operations, _), sample in zip(counts, chosen, strict=True)
        ]
        intensities += intensity
        axes.plot(intensity, rate, "o", ms=4, color=color, label=subject)
    peak, bandwidth = 1e-6 / model.shape["ms_per_operation"], 1e-6 / model.shape["ms_per_byte"]
    ridge = peak / bandwidth
    ends = (min([*intensities, ridge]) / 1.5, max([*intensities, ridge]) * 1.5)
    axes.plot([ends[0], ridge, ends[1]], [ends[0] * bandwidth, peak, peak], color="black", lw=1, label="ceilings")
    axes.set(xscale="log", yscale="log", xlabel="operations a byte", ylabel="10⁹ operations a second")
    axes.set_title(f"{bandwidth:.3g} GB/s, {peak / 1e3:.3g} x 10¹² operations a second", fontsize=10)
    axes.legend(fontsize=8)
    return figure
