"""How long a step of the engine takes, by requests at a time and drafted tokens: measured inside one running engine.

A probe inside the engine drafts as many tokens for every request as a file says, so that no restart is needed for another draft length.
Between the measured draft lengths times are interpolated, at each number of requests by itself, so that more drafts are never
predicted to take less time. An engine that speculates may also take longer for prompts, whatever it drafts: they are timed with the
probe and without it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

import numpy as np

from casspec.storage.engines.documents import (
    PLAIN,
    EngineLatency,
    EngineLatencyPoint,
    EngineMeasurement,
    EngineSetting,
)
from casspec.tuner.engines.process import EngineFailed
from casspec.tuner.engines.tuning.session import PROMPT_KIND, STEP_KIND, Session
from casspec.tuner.engines.tuning.starting import STEPS
from casspec.tuner.engines.tuning.stepping import step_ms
from casspec.tuner.engines.tuning.written import prompt_key, prompt_times

DRAFTS = (0, 1, 2, 4, 8)
"""Tokens that are drafted at the points."""
ROUNDS = 2


class StepTime:
    """Predicts steps at the numbers of requests at a time that were measured. `latency`: what was measured."""

    def __init__(self, latency: EngineLatency) -> None:
        self.latency = latency
        self._curves = {batch: _curve(latency.points, batch) for batch in {point.batch for point in latency.points}}

    def ms(self, batch: int, draft_tokens: float, drafting: float) -> float:
        """Milliseconds of a step on average. Raises KeyError for a number of requests that was not measured.

        Args:
            draft_tokens: of each request on average. drafting: share of requests that have a draft.
        """
        drafts, times = self._curves[batch]
        some = 1.0 - (1.0 - drafting) ** batch  # of steps: at least one request has a draft
        if some == 0.0:
            return float(times[0])
        return float((1.0 - some) * times[0] + some * _interpolated(drafts, times, draft_tokens / some))

    def extra_prompt_ms(self, batch: int) -> float:
        """Milliseconds that a prompt takes longer than without speculation, so many requests at a time."""
        return self.latency.extra_prompt_ms.get(str(batch), 0.0)


def step_time(session: Session) -> StepTime | None:
    """Measured where it is not stored, each point as it is measured; None where the engine does not start with a probe.

    Raises EngineFailed where it ends meanwhile.
    """
    setting = session.probe(max(DRAFTS))
    if setting is None:
        session.say(
            "this engine takes no probe: what steps cost is estimated from plain decoding, and several draft lengths are confirmed"
        )
        return None
    wanted = [(each, batch, k) for each in range(ROUNDS) for batch in session.subject.concurrency for k in DRAFTS]
    if not _is_complete(session, wanted, setting):
        if session.has_failed(setting):
            return None
        try:
            session.persistently(
                lambda: _measure(session, setting, [each for each in wanted if _key(*each) not in _stored(session)])
            )
        except EngineFailed as error:
            session.failed(setting, str(error))
            return None
    points = _points(_stored(session))
    _tell_proposer(session.folder / STEPS, points)
    return StepTime(assessed(points, _extra_prompt_ms(session, setting)))


def _extra_prompt_ms(session: Session, probe: EngineSetting) -> dict[str, float]:
    """By requests at a time; a prompt is never taken to be sooner for speculation."""
    stored = session.store.saved(session.subject_hash, PROMPT_KIND, EngineMeasurement)
    found = {}
    for each in session.subject.concurrency:
        with_it, without = (stored[prompt_key(setting, each)] for setting in (probe, PLAIN))
        extra = with_it.seconds / with_it.requests - without.seconds / without.requests
        found[str(each)] = max(0.0, 1e3 * extra)
    return found


def _is_complete(session: Session, wanted: Sequence[tuple[int, int, int]], setting: EngineSetting) -> bool:
    steps, prompts = _stored(session), session.store.saved(session.subject_hash, PROMPT_KIND, EngineMeasurement)
    has_prompts = all(prompt_key(setting, each) in prompts for each in session.subject.concurrency)
    return has_prompts and all(_key(*point) in steps for point in wanted)


def _tell_proposer(file: Path, points: Sequence[EngineLatencyPoint]) -> None:
    """What steps take, for a proposer of ours inside the engine."""
    told = [
        {"batch": each.batch, "draft_tokens": each.draft_tokens, "milliseconds": min(each.values_ms)} for each in points
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"latency": told}), encoding="utf-8")


def assessed(points: Sequence[EngineLatencyPoint], extra_prompt_ms: Mapping[str, float]) -> EngineLatency:
    """Points with their errors: each that has neighbours is also predicted from them."""
    errors = []
    for batch in {point.batch for point in points}:
        drafts, times = _curve(points, batch)
        for place in range(1, len(drafts) - 1):
            predicted = _interpolated(np.delete(drafts, place), np.delete(times, place), float(drafts[place]))
            errors.append(abs(predicted / float(times[place]) - 1.0))
    return EngineLatency(
        points=tuple(points),
        median_error=median(errors) if errors else 0.0,
        largest_error=max(errors, default=0.0),
        extra_prompt_ms=dict(extra_prompt_ms),
    )


def _curve(points: Sequence[EngineLatencyPoint], batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Drafted tokens, ascending, and milliseconds: the least of each point, for disturbances only add, and never less for more tokens."""
    from sklearn.isotonic import IsotonicRegression

    own = sorted((point.draft_tokens, min(point.values_ms)) for point in points if point.batch == batch)
    drafts, times = np.array(own, dtype=float).T
    return drafts, IsotonicRegression().fit_transform(drafts, times)


def _interpolated(drafts: np.ndarray, times: np.ndarray, wanted: float) -> float:
    """On straight lines between points; past the last one as between the last two."""
    if wanted <= drafts[-1] or len(drafts) == 1:
        return float(np.interp(wanted, drafts, times))
    return float(times[-1] + (wanted - drafts[-1]) * (times[-1] - times[-2]) / (drafts[-1] - drafts[-2]))


def _measure(session: Session, setting: EngineSetting, missing: Sequence[tuple[int, int, int]]) -> None:
    control = session.folder / "probe.json"
    session.folder.mkdir(parents=True, exist_ok=True)
    _tell(control, 0)
    with session.engine_with(setting, "steps by draft length", control) as instance:
        prompt_times(session, instance, setting)
        for number, (repeat, batch, drafted) in enumerate(missing, start=1):
            _tell(control, drafted)
            value = step_ms(session, instance, batch)
            point = EngineLatencyPoint(batch=batch, draft_tokens=drafted, values_ms=(value,))
            session.store.save(session.subject_hash, STEP_KIND, _key(repeat, batch, drafted), point)
            session.say(f"step {number}/{len(missing)}: {batch} at a time, {drafted} drafted: {value:.1f} ms")


def _tell(control: Path, drafted: int) -> None:
    """Replaces the file, so that nobody reads half of it."""
    fresh = control.with_suffix(".new")
    fresh.write_text(json.dumps({"draft_tokens": drafted}), encoding="utf-8")
    fresh.replace(control)


def _key(repeat: int, batch: int, drafted: int) -> str:
    return f"{repeat}/{batch}/{drafted}"


def _stored(session: Session) -> dict[str, EngineLatencyPoint]:
    return session.store.saved(session.subject_hash, STEP_KIND, EngineLatencyPoint)


def _points(stored: Mapping[str, EngineLatencyPoint]) -> list[EngineLatencyPoint]:
    """All repeats of a point together."""
    values: dict[tuple[int, int], list[float]] = {}
    for point in stored.values():
        values.setdefault((point.batch, point.draft_tokens), []).extend(point.values_ms)
    return [
        EngineLatencyPoint(batch=batch, draft_tokens=drafted, values_ms=tuple(found))
        for (batch, drafted), found in sorted(values.items())
    ]
