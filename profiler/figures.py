"""Figures of the latency fit. Matplotlib is imported when one is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from casspec.runtime.latency import LatencyPredictor
from casspec.storage.schema import LatencyModel, LatencySample

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLORS = {"attention": "tab:blue", "mlp": "tab:orange", "drafter": "tab:green", "forward": "tab:red"}


def fit_figure(samples: Sequence[LatencySample], model: LatencyModel) -> Figure:
    """Predicted against measured milliseconds by kind of point, both axes logarithmic; bars span the quartiles."""
    from matplotlib.figure import Figure

    predictor = LatencyPredictor(model)
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
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("{x:g}")
    axes.set_title(
        f"cross-validated median error {model.cv_median_error:.1%}, test-retest {model.test_retest:.1%}", fontsize=10
    )
    axes.legend()
    return figure
