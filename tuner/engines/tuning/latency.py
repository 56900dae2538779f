"""How long a step of the engine takes, by requests at a time and drafted tokens: measured inside one running engine, then fitted.

A probe inside the engine drafts as many tokens for every request as a file says, so that no restart is needed for another draft length.
Steps are counted by the engine: each request's step emits what it accepts and one token more. The fit is a sum of terms that only grow
with requests and tokens, with weights that are not negative, so that no more work is ever predicted to take less time.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path
from statistics import median

import numpy as np

from casspec.storage.engines.documents import EngineLatency, EngineLatencyPoint, EngineSetting
from casspec.storage.errors import EngineError
from casspec.tuner.engines.asked import completion
from casspec.tuner.engines.endpoint import Answer, Asked, Endpoint
from casspec.tuner.engines.metrics import Counters, read_counters
from casspec.tuner.engines.process import EngineFailed
from casspec.tuner.engines.tuning.session import STEP_KIND, OutOfTime, Session
from casspec.tuner.engines.tuning.starting import STEPS, Instance
from casspec.tuner.engines.tuning.workload import TokenRequest, Workload, copies

DRAFTS = (0, 1, 2, 4, 8)
"""Tokens that are drafted at the points."""
ROUNDS = 2
TOKENS = (64, 128, 256)
"""New ones of each request while a point is measured: the first that bring enough steps."""
LEAST_TOKENS = 16
"""That a context has to leave room for."""
FIRST, LAST = 4, 0.85
"""Steps count from where every request has so many tokens until one has this share of what it will have."""
LEAST_STEPS = 3
LOOK_SECONDS = 0.005

Terms = Callable[[float, float, float], float]
"""Of requests, tokens that are verified, and the share of steps with a draft."""

TERMS: dict[str, Terms] = {
    "step": lambda batch, tokens, drafting: 1.0,
    "request": lambda batch, tokens, drafting: batch,
    "token": lambda batch, tokens, drafting: tokens,
    "drafting": lambda batch, tokens, drafting: drafting,
    "token over 8": lambda batch, tokens, drafting: max(tokens - 8.0, 0.0),
    "token over 32": lambda batch, tokens, drafting: max(tokens - 32.0, 0.0),
}


class StepTime:
    """Predicts steps. `latency`: as fitted."""

    def __init__(self, latency: EngineLatency) -> None:
        self.latency = latency

    def ms(self, batch: float, draft_tokens: float, drafting: float | None = None) -> float:
        """Milliseconds of a step.

        Args:
            draft_tokens: of each request on average. drafting: share of requests that have a draft; by default all where there are any.
        """
        share = float(draft_tokens > 0) if drafting is None else drafting
        return _ms(self.latency.coefficients, batch, draft_tokens, 1.0 - (1.0 - share) ** batch)


def step_time(session: Session) -> StepTime | None:
    """Measured where it is not stored, each point as it is measured; None where the engine does not start with a probe.

    Raises EngineFailed where it ends meanwhile.
    """
    setting = session.engine.probe_setting(max(DRAFTS))
    if setting is None or setting.method not in session.abilities.methods:
        session.say(
            "this engine takes no probe: what steps cost is estimated from plain decoding, and several draft lengths are confirmed"
        )
        return None
    wanted = [(each, batch, k) for each in range(ROUNDS) for batch in session.subject.concurrency for k in DRAFTS]
    missing = [point for point in wanted if _key(*point) not in _stored(session)]
    if missing and session.has_failed(setting):
        return None
    if missing:
        try:
            session.persistently(
                lambda: _measure(session, setting, [each for each in wanted if _key(*each) not in _stored(session)])
            )
        except EngineFailed as error:
            session.failed(setting, str(error))
            return None
    points = _points(_stored(session))
    _tell_proposer(session.folder / STEPS, points)
    return StepTime(fit(points))


def _tell_proposer(file: Path, points: Sequence[EngineLatencyPoint]) -> None:
    """What steps take, for a proposer of ours inside the engine."""
    told = [
        {"batch": each.batch, "draft_tokens": each.draft_tokens, "milliseconds": median(each.values_ms)}
        for each in points
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"latency": told}), encoding="utf-8")


def fit(points: Sequence[EngineLatencyPoint]) -> EngineLatency:
    """Non-negative least squares of relative errors; each point is also predicted from the others, which gives the errors told."""
    coefficients = _fitted(points)
    errors = []
    for point in points:
        others = [each for each in points if each is not point]
        if others:
            predicted = _ms(_fitted(others), point.batch, point.draft_tokens, float(point.draft_tokens > 0))
            errors.append(abs(predicted / median(point.values_ms) - 1.0))
    return EngineLatency(
        points=tuple(points),
        coefficients=coefficients,
        median_error=median(errors) if errors else 0.0,
        largest_error=max(errors, default=0.0),
    )


def _ms(coefficients: Mapping[str, float], batch: float, draft_tokens: float, drafting: float) -> float:
    tokens = batch * (1.0 + draft_tokens)
    return sum(weight * TERMS[name](batch, tokens, drafting) for name, weight in coefficients.items())


def _fitted(points: Sequence[EngineLatencyPoint]) -> dict[str, float]:
    from sklearn.linear_model import LinearRegression

    times = np.array([median(point.values_ms) for point in points])
    rows = np.array(
        [
            [
                term(point.batch, point.batch * (1.0 + point.draft_tokens), float(point.draft_tokens > 0))
                for term in TERMS.values()
            ]
            for point in points
        ]
    )
    relative = rows / times[:, None]
    scale = np.sqrt((relative**2).mean(axis=0))
    scaled = relative / np.where(scale > 0, scale, 1.0)
    weights = LinearRegression(fit_intercept=False, positive=True).fit(scaled, np.ones(len(points))).coef_
    return {
        name: float(weight / size)
        for name, weight, size in zip(TERMS, weights, scale, strict=True)
        if weight > 0 and size > 0
    }


def _measure(session: Session, setting: EngineSetting, missing: Sequence[tuple[int, int, int]]) -> None:
    control = session.folder / "probe.json"
    session.folder.mkdir(parents=True, exist_ok=True)
    _tell(control, 0)
    with session.engine_with(setting, "steps by draft length", control) as instance:
        for number, (repeat, batch, drafted) in enumerate(missing, start=1):
            _tell(control, drafted)
            value = _point(session, instance, batch)
            point = EngineLatencyPoint(batch=batch, draft_tokens=drafted, values_ms=(value,))
            session.store.save(session.subject_hash, STEP_KIND, _key(repeat, batch, drafted), point)
            session.say(f"step {number}/{len(missing)}: {batch} at a time, {drafted} drafted: {value:.1f} ms")


def _tell(control: Path, drafted: int) -> None:
    """Replaces the file, so that nobody reads half of it."""
    fresh = control.with_suffix(".new")
    fresh.write_text(json.dumps({"draft_tokens": drafted}), encoding="utf-8")
    fresh.replace(control)


def _point(session: Session, instance: Instance, batch: int) -> float:
    """Milliseconds of a step with so many requests. More tokens are asked for where they came too soon to be counted meanwhile.

    Raises EngineFailed where the engine ends, OutOfTime where the budget does, EngineError where its counters stand still, or
    texts are so long that too few tokens can follow.
    """
    asked = _asked_at_a_point(session.workload, batch)
    room, context = session.workload.room(asked, max(TOKENS)), session.workload.max_context or 0
    if room < LEAST_TOKENS:
        raise EngineError(
            f"a context of {context} tokens leaves {room} after the prompts, and steps are measured over {LEAST_TOKENS} at "
            f"least: give a --max-model-len of {context - room + LEAST_TOKENS} or more, or shorter prompts"
        )
    for tokens in dict.fromkeys(min(each, room) for each in TOKENS):
        seconds, steps = _steps(session, instance, asked, tokens)
        if steps >= LEAST_STEPS:
            return 1e3 * seconds / steps
    if room < max(TOKENS):
        raise EngineError(
            f"a context of {context} tokens is too short to measure steps in: {room} tokens came before "
            "/metrics counted them; give a longer --max-model-len, or shorter prompts"
        )
    raise EngineError(
        f"{instance.endpoint.url}/metrics counts no tokens while they are written: its metrics lag behind"
    )


def _asked_at_a_point(workload: Workload, batch: int) -> list[TokenRequest]:
    """So many requests, of prompts with room for all tokens that may be asked for, where there are some."""
    return list(islice(cycle(workload.with_room(max(TOKENS)) or workload.requests), batch))


def _steps(session: Session, instance: Instance, requests: Sequence[TokenRequest], tokens: int) -> tuple[float, float]:
    """Seconds and steps of a window of these requests. Raises OutOfTime where the budget ends."""
    session.check_time()
    fresh = f"step {time.monotonic_ns()}"
    asked = [
        completion(instance.model, each.ids, tokens, session.engine.request_fields(f"{fresh} {copy}"), ignore_end=True)
        for each, copy in zip(requests, copies(requests), strict=True)
    ]

    def read(text: str) -> Counters:
        return read_counters(text, session.engine.counters)

    async def within() -> tuple[float, Counters, list[Answer]]:
        async with asyncio.timeout(session.budget.most_s):
            return await _window(instance.endpoint, asked, tokens, read)

    try:
        with instance.watched():
            seconds, counted, answers = asyncio.run(within())
    except TimeoutError:
        raise OutOfTime from None
    instance.check_answers(answers)
    return seconds, counted.verifications / len(requests)


async def _window(
    endpoint: Endpoint, asked: Sequence[Asked], tokens: int, read: Callable[[str], Counters]
) -> tuple[float, Counters, list[Answer]]:
    """Time and counts between two looks at the counters while all requests are written; and the answers."""
    have = [0] * len(asked)

    def note(place: int) -> Callable[[int], None]:
        def noted(tokens: int) -> None:
            have[place] = tokens

        return noted

    tasks = [asyncio.create_task(endpoint.ask(each, note(place))) for place, each in enumerate(asked)]

    async def until(reached: Callable[[], bool]) -> None:
        while not reached() and not any(task.done() for task in tasks):
            await asyncio.sleep(LOOK_SECONDS)

    await until(lambda: min(have) >= FIRST)
    before = read(await endpoint.text("/metrics"))
    began = time.perf_counter()
    await until(lambda: max(have) >= LAST * tokens)
    after = read(await endpoint.text("/metrics"))
    seconds = time.perf_counter() - began
    return seconds, after.since(before), list(await asyncio.gather(*tasks))


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
