"""Has the engine write texts without speculation: what it is compared with, and what acceptance is replayed on.

Where more requests are wanted at a time than there are prompts, all prompts come again, so that so many are under way.
"""

from __future__ import annotations

from collections.abc import Mapping

from casspec.storage.engines.documents import PLAIN, EngineLatencyPoint, EngineMeasurement, EngineSetting, EngineText
from casspec.storage.errors import EngineError
from casspec.tuner.engines.tuning.session import PLAIN_KIND, PLAIN_STEP_KIND, PROMPT_KIND, TEXT_KIND, Session
from casspec.tuner.engines.tuning.starting import Instance
from casspec.tuner.engines.tuning.stepping import step_ms
from casspec.tuner.engines.tuning.workload import in_turns

TIMES = 2
"""That a step without speculation is measured."""


def plain_texts(session: Session) -> tuple[list[EngineText], dict[int, EngineMeasurement]]:
    """Texts of all prompts, and how fast they were written by requests at a time. The engine starts only where some are missing.

    Raises EngineFailed where it does not start, EngineError where it tells neither token ids nor text.
    """
    if not _is_complete(session):
        session.persistently(lambda: _write(session))
    texts_by_id = session.store.saved(session.subject_hash, TEXT_KIND, EngineText)
    ordered = [texts_by_id[request.id] for request in session.workload.requests]
    return ordered, {int(key): figures for key, figures in _plain(session).items()}


def _write(session: Session) -> None:
    with session.engine_with(PLAIN, "texts without speculation") as instance:
        for concurrency in session.subject.concurrency:
            if str(concurrency) in _plain(session):
                continue
            session.say(f"texts, {concurrency} at a time")
            requests = in_turns(session.workload.asked(concurrency))
            figures, texts = session.drive(instance, f"text {concurrency}", requests, concurrency)
            if not all(text.answer for text in texts):
                raise EngineError(
                    f"{session.engine.name} tells no token ids of its answers, nor their text: it cannot be tuned"
                )
            for text in texts:
                session.store.save(session.subject_hash, TEXT_KIND, text.prompt_id, text)
            session.store.save(session.subject_hash, PLAIN_KIND, str(concurrency), figures)
        if session.probe(1) is not None:
            prompt_times(session, instance, PLAIN)
            _step_times(session, instance)


def plain_steps(session: Session, plain: Mapping[int, EngineMeasurement]) -> dict[int, float]:
    """Milliseconds of a step without speculation, by requests at a time, as `plain` has figures of them.

    Where the engine takes a probe, as steps are timed with it: the least that was measured, for disturbances only add. Elsewhere the
    middle of what clients saw between tokens.
    """
    timed = {point.batch: min(point.values_ms) for point in _timed(session).values()}
    return {each: timed.get(each) or _seen_by_clients(figures) for each, figures in plain.items()}


def _step_times(session: Session, instance: Instance) -> None:
    for concurrency in session.subject.concurrency:
        if str(concurrency) not in _timed(session):
            values = tuple(step_ms(session, instance, concurrency) for _ in range(TIMES))
            point = EngineLatencyPoint(batch=concurrency, draft_tokens=0, values_ms=values)
            session.store.save(session.subject_hash, PLAIN_STEP_KIND, str(concurrency), point)


def _seen_by_clients(figures: EngineMeasurement) -> float:
    return figures.token_ms[0] if figures.token_ms else 1e3 * figures.seconds * figures.concurrency / figures.tokens


def prompt_times(session: Session, instance: Instance, setting: EngineSetting) -> None:
    """Measures and keeps what prompts take with one new token each, where that is not stored."""
    for concurrency in session.subject.concurrency:
        key = prompt_key(setting, concurrency)
        if key not in session.store.saved(session.subject_hash, PROMPT_KIND, EngineMeasurement):
            requests = in_turns(session.workload.asked(concurrency))
            figures, _ = session.drive(instance, "prompts", requests, concurrency, tokens=1, setting=setting)
            session.store.save(session.subject_hash, PROMPT_KIND, key, figures)


def prompt_key(setting: EngineSetting, concurrency: int) -> str:
    """By which prompt times are stored."""
    return f"{setting.method}/{concurrency}"


def _is_complete(session: Session) -> bool:
    written = {str(each) for each in session.subject.concurrency}
    if session.probe(1) is None:
        return written <= _plain(session).keys()
    prompts = session.store.saved(session.subject_hash, PROMPT_KIND, EngineMeasurement)
    has_prompts = all(prompt_key(PLAIN, each) in prompts for each in session.subject.concurrency)
    return has_prompts and written <= _plain(session).keys() & _timed(session).keys()


def _plain(session: Session) -> dict[str, EngineMeasurement]:
    return session.store.saved(session.subject_hash, PLAIN_KIND, EngineMeasurement)


def _timed(session: Session) -> dict[str, EngineLatencyPoint]:
    return session.store.saved(session.subject_hash, PLAIN_STEP_KIND, EngineLatencyPoint)
