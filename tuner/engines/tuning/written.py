"""Has the engine write texts without speculation: what it is compared with, and what acceptance is replayed on.

Where more requests are wanted at a time than there are prompts, all prompts come again, so that so many are under way.
"""

from __future__ import annotations

from casspec.storage.engines.documents import PLAIN, EngineMeasurement, EngineText
from casspec.storage.errors import EngineError
from casspec.tuner.engines.tuning.session import PLAIN_KIND, TEXT_KIND, Session
from casspec.tuner.engines.tuning.workload import in_turns


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
            requests = in_turns(session.workload.at_least(concurrency))
            figures, texts = session.drive(instance, f"text {concurrency}", requests, concurrency)
            if not all(text.answer for text in texts):
                raise EngineError(
                    f"{session.engine.name} tells no token ids of its answers, nor their text: it cannot be tuned"
                )
            for text in texts:
                session.store.save(session.subject_hash, TEXT_KIND, text.prompt_id, text)
            session.store.save(session.subject_hash, PLAIN_KIND, str(concurrency), figures)


def _is_complete(session: Session) -> bool:
    return {str(each) for each in session.subject.concurrency} <= _plain(session).keys()


def _plain(session: Session) -> dict[str, EngineMeasurement]:
    return session.store.saved(session.subject_hash, PLAIN_KIND, EngineMeasurement)
