"""Figures of a calibration. Built without pyplot: no window, no global state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from casspec.storage.schema import DrafterCandidate, Precision
from casspec.tuner.search.pareto import pareto_front
from casspec.tuner.search.plan_spec import PlanSpec
from casspec.tuner.search.starting_plans import leave_one_out

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE_INCHES = (7.0, 4.5)


def pareto_figure(candidates: Sequence[DrafterCandidate]) -> Figure:
    """Acceptance over cost of every candidate, by where it came from and its precision, and the front."""
    figure, axes = _figure()
    for source in dict.fromkeys(_kind(candidate) for candidate in candidates):
        some = [candidate for candidate in candidates if _kind(candidate) == source]
        axes.scatter([c.cost for c in some], [c.acceptance for c in some], s=18, label=source, alpha=0.75)
    front = pareto_front(candidates)
    axes.plot([c.cost for c in front], [c.acceptance for c in front], color="black", linewidth=1, label="front")
    axes.set(xlabel="cost of a drafter step / target step", ylabel="offline acceptance of a drafted token")
    axes.legend(fontsize="small")
    return figure


def sensitivity_figure(candidates: Sequence[DrafterCandidate], n_layers: int) -> Figure:
    """Acceptance that remains when one sub-layer is left out, at the target's precision."""
    from matplotlib.ticker import MaxNLocator

    figure, axes = _figure()
    known = {PlanSpec.of(candidate): candidate.acceptance for candidate in candidates}
    singles = [(skip, known[PlanSpec(skip)]) for skip in leave_one_out(n_layers) if PlanSpec(skip) in known]
    for kind, marker in (("attention", "o"), ("mlp", "s")):
        points = [(layer, acceptance) for skip, acceptance in singles for layer in getattr(skip, kind)]
        axes.plot([layer for layer, _ in points], [a for _, a in points], marker=marker, label=kind)
    axes.set(xlabel="layer left out", ylabel="offline acceptance of a drafted token")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    return figure


def _kind(candidate: DrafterCandidate) -> str:
    source, precision = candidate.source.partition(":")[0], candidate.quantization.precision
    return source if precision is Precision.TARGET else f"{source} {precision.short}"


def _figure() -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE_INCHES, layout="constrained")
    return figure, figure.subplots()
