"""Times the steps of an engine that runs, while it does nothing but go on with texts.

Steps are counted by the engine: each request's step emits what it accepts and one token more.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from itertools import cycle, islice

from casspec.storage.errors import EngineError
from casspec.tuner.engines.asked import completion
from casspec.tuner.engines.endpoint import Answer, Asked, Endpoint
from casspec.tuner.engines.metrics import Counters, read_counters
from casspec.tuner.engines.tuning.session import OutOfTime, Session
from casspec.tuner.engines.tuning.starting import Instance
from casspec.tuner.engines.tuning.workload import TokenRequest, Workload, copies

TOKENS = (64, 128, 256)
"""New ones of each request while a point is measured: the first that bring enough steps."""
LEAST_TOKENS = 16
"""That a context has to leave room for."""
FIRST, LAST = 4, 0.85
"""Steps count from where every request has so many tokens until one has this share of what it will have."""
LEAST_STEPS = 3
LOOK_SECONDS = 0.005


def step_ms(session: Session, instance: Instance, batch: int) -> float:
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
