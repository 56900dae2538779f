"""How much a search may take: of a model that was profiled, a share of what its calibration costs as a whole.

What forwards cost on this device is known when a search begins. So its time follows the model: all starting plans fit, most of the
time goes to measuring what the cascade is chosen from, and a calibration as a whole stays within what its settings allow. What a model
too large for that has less of is recordings for each sensitivity, never sensitivities.
"""

from __future__ import annotations

from dataclasses import dataclass

from casspec.runtime.latency.predictor import LatencyPredictor
from casspec.runtime.model.plan import Plan
from casspec.storage.schema import Document
from casspec.tuner.recordings.side_by_side import MOST_TOGETHER
from casspec.tuner.recordings.teacher_forcing import LONGEST_CHUNK
from casspec.tuner.search.space import switches
from casspec.tuner.search.starting_plans import (
    PREFIXES,
    QUANTISED_PREFIXES,
    UNIFORM_RATIOS,
    thinned_leave_one_out,
)
from casspec.tuner.settings import AUTO, CalibrationSettings

LEAST_SHARE, MOST_SHARE = 0.15, 0.35
"""Of a calibration, for its search. Between them as much as leaves the calibration within its time."""

SENSITIVITY_SHARE = 0.5
"""Share of trials and time that leave-one-out evaluations may take."""

RACED = 0.6
"""Recordings that a plan is scored on, of those it may be: most plans are left before."""

TRIAL_OVERHEAD = 1.2
"""Time of a scored recording over the target's forward over as many tokens (`benchmarks/trial_cost.py`)."""

PROFILE_OVERHEAD = 2.2
"""Time of the profile stage over that it was given for measurements, where that was enough."""

TIMED_OVERHEAD = 1.5
"""The same over the time of the calls that were timed, where that was not enough."""

REPLAY_S = 0.01
"""Replaying and tuning, for each recorded token. It runs on the host, whatever the model."""

CONTENDERS = 8
"""Plans traced on all recordings, about."""

BENCH_PASSES = 4
"""Times a prompt of the closing benchmark is decoded: recorded, then by three methods."""


class SearchPlan(Document):
    """What a search may take, decided once: whoever resumes or joins it goes by the same."""

    trials: int
    seconds: float
    n_singles: int
    """Sub-layers left out alone, of all."""
    sensitivity_recordings: int
    """That each of them is scored on, all on the same: they are compared with each other."""
    recordings: int
    """That any other plan is scored on at most."""
    share: float | None = None
    """Of the calibration's time; None where the user gave the seconds."""

    @property
    def finishes_starting_plans(self) -> bool:
        """Whether starting plans are evaluated to the last, whatever they take."""
        return self.share is not None

    def told(self) -> str:
        """In a line, for the user."""
        time = f"about {self.seconds:.0f} s" if self.share is not None else f"at most {self.seconds:g} s"
        of_all = "" if self.share is None else f"; {self.share:.0%} of the calibration"
        on = f" on {self.sensitivity_recordings} of {self.recordings} recordings each" if self.n_singles else ""
        return f"search: {time}, up to {self.trials} evaluations: {self.n_singles} sensitivities{on}, the others raced{of_all}"


@dataclass(frozen=True)
class ForwardSeconds:
    """What forwards of the target take."""

    step: float
    """Of one token."""
    recorded: float
    """Of one token of a text that is made beside others."""
    recording: float
    """Over all tokens of a recording's continuation."""
    prompt: float
    """Over all tokens of its prompt."""

    @classmethod
    def of(cls, latency: LatencyPredictor, n_layers: int, n_tokens: int, context_tokens: int) -> ForwardSeconds:
        """Of a profiled target, from its latency model, `n_tokens` a recording, `context_tokens` halfway through one."""
        full = Plan.full(n_layers)

        def seconds(tokens: int) -> float:
            return latency.forward_ms(full, tokens, context_tokens) / 1e3

        def over(n: int) -> float:
            whole, rest = divmod(n, LONGEST_CHUNK)
            return whole * seconds(LONGEST_CHUNK) + (seconds(rest) if rest else 0.0)

        beside = seconds(MOST_TOGETHER) / MOST_TOGETHER
        return cls(seconds(1), beside, over(n_tokens), over(max(context_tokens - n_tokens // 2, 1)))


def plan_search(
    settings: CalibrationSettings,
    n_layers: int,
    n_precisions: int,
    n_recordings: int,
    forward: ForwardSeconds,
    timed_s: float = 0.0,
) -> SearchPlan:
    """What the search of a calibration may take.

    Args:
        n_precisions: to choose from besides the target's own.
        n_recordings: that plans are scored on.
        timed_s: seconds of the calls that were timed for the profile.
    """
    asked, n_switches = settings.search, len(switches(n_layers))
    # 1. How many evaluations.
    others = n_precisions
    if n_switches:
        others += len(UNIFORM_RATIOS) + PREFIXES + n_precisions * QUANTISED_PREFIXES
    trials = n_switches + others + n_switches if isinstance(asked.trials, str) else asked.trials
    n_singles = len(thinned_leave_one_out(n_layers, int(SENSITIVITY_SHARE * trials)))
    scored = forward.recording * TRIAL_OVERHEAD
    raced = n_recordings * RACED * scored
    least = n_singles * scored + min(others, trials - n_singles) * raced
    wanted = n_singles * n_recordings * scored + (trials - n_singles) * raced

    # 2. How long.
    rest = rest_seconds(settings, forward, timed_s)
    if isinstance(asked.seconds, str):
        within = settings.search.calibration_seconds - rest
        allowed = max(min(_beside(rest, MOST_SHARE), within), _beside(rest, LEAST_SHARE))
        seconds = max(min(allowed, wanted), least)
    else:
        seconds = asked.seconds

    # 3. Sensitivities within their share of it.
    affordable = int(SENSITIVITY_SHARE * seconds / (n_singles * scored)) if n_singles else n_recordings
    return SearchPlan(
        trials=trials,
        seconds=round(seconds, 1),
        n_singles=n_singles,
        sensitivity_recordings=min(max(affordable, 1), n_recordings),
        recordings=n_recordings,
        share=round(seconds / (seconds + rest), 3) if asked.seconds == AUTO else None,
    )


def rest_seconds(settings: CalibrationSettings, forward: ForwardSeconds, timed_s: float = 0.0) -> float:
    """About what all stages but the search take; the benchmark as if it decoded plainly."""
    record, bench = settings.record, settings.bench
    recordings = len(record.modes) * record.prompts
    return (
        max(PROFILE_OVERHEAD * settings.profile.seconds, TIMED_OVERHEAD * timed_s)
        + recordings * record.tokens * forward.recorded
        + record.prompts * forward.prompt
        + recordings * (record.tokens * REPLAY_S + CONTENDERS * forward.recording)
        + BENCH_PASSES * len(bench.modes) * bench.prompts * (bench.tokens * forward.step + forward.prompt)
    )


def _beside(rest: float, share: float) -> float:
    """What is this share of itself and the rest."""
    return rest * share / (1 - share)
