"""The whole search, from an engine that nobody has measured to one configuration. Everything is stored as it is measured."""

from __future__ import annotations

from casspec.storage.engines.documents import PLAIN, EngineResult
from casspec.tuner.engines.tuning.confirm import ROUNDS, Confirmed
from casspec.tuner.engines.tuning.finalists import finalists
from casspec.tuner.engines.tuning.latency import step_time
from casspec.tuner.engines.tuning.outcome import adjusted, outcome
from casspec.tuner.engines.tuning.predicting.estimate import estimated_steps
from casspec.tuner.engines.tuning.predicting.search import searched
from casspec.tuner.engines.tuning.session import Session
from casspec.tuner.engines.tuning.written import plain_steps, plain_texts


def tune(session: Session, anew: bool = False) -> EngineResult:
    """Goes on where an earlier search of the same subject ended; a finished one measures what its budget left out, else nothing.

    Args:
        anew: what was measured before is forgotten first.

    Raises:
        EngineFailed: the engine does not start without speculation, or ends. OutOfTime: the budget ends before anything is confirmed.
        EngineError: another process runs this very search, or the engine answers with what it should not.
    """
    session.subject_hash = session.store.begin(session.subject)
    with session.store.alone(session.subject_hash):
        if anew:
            session.store.forget(session.subject_hash)
            session.store.begin(session.subject)
        # 1. What the engine writes without speculation, and how fast.
        texts, plain = plain_texts(session)
        # 2. What steps cost by draft length, inside one engine that runs.
        steps = step_time(session)
        if steps is not None:
            latency = steps.latency
            session.say(
                f"steps: {len(latency.points)} points, predicted from their neighbours to {latency.median_error:.1%} "
                f"(at most {latency.largest_error:.1%})"
            )
        # 3. All settings by replay, and what the best of them promise.
        trials = searched(session, texts, plain, steps or estimated_steps(plain_steps(session, plain)))
        is_timed = steps is not None
        chosen = finalists(session.engine, session.abilities, trials, plain, session.subject.tried, is_timed)
        for each in chosen:
            gains = (
                ", ".join(f"{gain:.2f}x at {place}" for place, gain in each.predicted_gain.items()) or "not predicted"
            )
            session.say(f"candidate {each.setting.name}: {gains}")
        # 4. The best few against no speculation, by restarts.
        confirmed = Confirmed(session, plain)
        if chosen:
            confirmed.run(chosen)
            less = adjusted(session, confirmed, chosen)
            if less is not None:
                chosen.append(less)
                for number in range(ROUNDS):
                    if not (confirmed.measure(PLAIN, number) and confirmed.measure(less.setting, number)):
                        break
                    if confirmed.is_slower(less.setting):
                        break
        # 5. What came of it.
        return session.store.save_result(outcome(session, plain, confirmed, chosen, steps))
