"""Keeps predicted latencies true while decoding: each forward that ran says how far off its prediction was.

A busy or hot machine slows all forwards, another user of the memory bus some plans more than others. So each plan has a line
measured = bias + slope * predicted, from recursive least squares in relative error with exponential forgetting (Ljung 1999, chapter
11), faster after a change, held towards slope 1 and bias 0 where there is little to learn from. A plan that has not run for a while
tells little of now: it follows the slope of the target, which runs at every step.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

LINE_MEMORY = 0.98
"""Weight older forwards of a plan keep when a new one arrives: about 50 count."""

RUN, MEMORY_IN_RUN = 6, 0.8
"""After so many residuals of one sign the machine has changed, and what was before is forgotten as fast as this."""

SLOPE_TRIALS = 0.5
"""Forwards the belief in slope 1 counts for."""

BIAS_TRIALS = 4.0
"""Forwards the belief in bias 0 counts for."""

LARGEST = 3.0
"""Residuals count up to this many times their usual size."""

SCALE_RATE, SPIKE, LEAST_SCALE = 0.2, 6.0, 0.02
"""How fast the usual size follows, of residuals up to SPIKE times it; it doubles in a step at most. In relative error."""

FRESHNESS = 0.97
"""Weight a plan's own line keeps for each forward of any plan that ran since its own last one."""

LEAST_SLOPE = 0.05
"""Of a line; and no prediction is corrected to less than this share of it, however far from what ran."""


@dataclass(slots=True)
class _Line:
    """Sums of weighted least squares with x = (1, unit / predicted) and y = measured / predicted."""

    unit_ms: float
    slope: float = 1.0
    bias_ms: float = 0.0
    ran_at: int = 0
    run: int = 0
    """Residuals of the last one's sign in a row, negative for those below zero."""
    scale: float = 0.05
    """Usual size of a residual."""
    s11: float = 0.0
    s12: float = 0.0
    s22: float = 0.0
    t1: float = 0.0
    t2: float = 0.0

    def observe(self, predicted_ms: float, measured_ms: float) -> None:
        x, expected = self.unit_ms / predicted_ms, self.slope + self.bias_ms / predicted_ms
        residual = measured_ms / predicted_ms - expected
        # Cut to what is usual: a forward that was interrupted once says little of the next. What goes on becomes usual in a few steps.
        y = expected + max(-LARGEST * self.scale, min(residual, LARGEST * self.scale))
        self.scale = max(self.scale + SCALE_RATE * (min(abs(residual), SPIKE * self.scale) - self.scale), LEAST_SCALE)
        sign = 1 if residual > 0 else -1
        self.run = self.run + sign if self.run * sign > 0 else sign
        memory = LINE_MEMORY if abs(self.run) < RUN else MEMORY_IN_RUN
        self.s11 = self.s11 * memory + 1.0
        self.s12 = self.s12 * memory + x
        self.s22 = self.s22 * memory + x * x
        self.t1 = self.t1 * memory + y
        self.t2 = self.t2 * memory + x * y
        a, c = self.s11 + SLOPE_TRIALS, self.s22 + BIAS_TRIALS
        t1, determinant = self.t1 + SLOPE_TRIALS, a * c - self.s12 * self.s12
        self.slope = max((c * t1 - self.s12 * self.t2) / determinant, LEAST_SLOPE)
        self.bias_ms = (a * self.t2 - self.s12 * t1) / determinant * self.unit_ms


@dataclass(slots=True)
class LatencyCorrection:
    """Lines by plan name.

    Args:
        base: name of the target's own plan.
    """

    base: str
    _lines: dict[str, _Line] = field(default_factory=dict)
    _forwards: int = 0

    def observe(self, plan: str, predicted_ms: float, measured_ms: float) -> None:
        """Learns from a forward of `plan`, predicted without correction."""
        line = self._lines.get(plan)
        if line is None:
            line = self._lines[plan] = _Line(predicted_ms)
        self._forwards += 1
        line.ran_at = self._forwards
        line.observe(predicted_ms, measured_ms)

    def line(self, plan: str) -> tuple[float, float]:
        """(slope, bias in ms) that a prediction of `plan` is corrected with; (1, 0) where nothing is known."""
        own, base = self._lines.get(plan), self._lines.get(self.base)
        if own is None or base is None or own is base:
            known = own or base
            return (1.0, 0.0) if known is None else (known.slope, known.bias_ms if known is own else 0.0)
        fresh = FRESHNESS ** (base.ran_at - own.ran_at) if base.ran_at > own.ran_at else 1.0
        return base.slope + fresh * (own.slope - base.slope), fresh * own.bias_ms

    def corrected_ms(self, plan: str, predicted_ms: float) -> float:
        """The prediction as the machine runs now."""
        return self.corrected_curve(plan, (predicted_ms,))[0]

    def corrected_curve(self, plan: str, predicted_ms: Iterable[float]) -> list[float]:
        """Predictions of one plan as the machine runs now: all above 0, and what was predicted longer stays longer."""
        slope, bias_ms = self.line(plan)
        return [max(slope * ms + bias_ms, LEAST_SLOPE * ms) for ms in predicted_ms]
