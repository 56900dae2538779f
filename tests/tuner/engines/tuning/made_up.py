"""A search over the fake engine, and one over figures that are made up."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from casspec.storage import open_repository
from casspec.storage.engines.documents import PLAIN, EngineMeasurement, EngineSetting, EngineText
from casspec.tuner.engines.known.vllm import Vllm
from casspec.tuner.engines.protocol import Engine, Start
from casspec.tuner.engines.tuning.budget import Budget
from casspec.tuner.engines.tuning.session import Session
from casspec.tuner.engines.tuning.starting import OwnEngine
from casspec.tuner.engines.tuning.workload import TokenRequest, Workload
from tests.storage.engines.test_documents import subject
from tests.tuner.engines.known.test_vllm import ABLE

TOKENS = 20
CONCURRENCY = (1, 2)


def workload(n: int = 3, length: int = 5, tokens: int = TOKENS) -> Workload:
    """Requests whose answers the fake repeats from the prompt."""
    ids = (tuple(10 * place + each + 1 for each in range(length)) for place in range(n))
    return Workload(tuple(TokenRequest(f"p{place}", "ab"[place % 2], one) for place, one in enumerate(ids)), tokens)


@contextmanager
def session(
    tmp_path: Path,
    seconds: float = 600.0,
    lines: list[str] | None = None,
    engine: Engine | None = None,
    program: Path = Path(sys.executable),
    **changes: Any,
) -> Iterator[Session]:
    """Over the fake vLLM, which has to be installed (fixture `fake_vllm`), or the fake of another engine.

    Args:
        lines: what is said goes there. program: what starts the engine.
    """
    abilities = ABLE if engine is None else engine.abilities(program)
    engine = engine or Vllm()
    told: list[str] = [] if lines is None else lines
    start = Start(program, "m.gguf", PLAIN, 0, "auto", abilities, requests=max(CONCURRENCY), longest=64)
    with open_repository(str(tmp_path / "casspec.db")) as repository:
        found = Session(
            engine,
            abilities,
            OwnEngine(engine, start, tmp_path / "engine", ready_s=120.0),
            repository.engines,
            subject(concurrency=CONCURRENCY, tokens=TOKENS, **changes),
            workload(),
            Budget(seconds, start_s=1.0),
            tmp_path / "engine",
            told.append,
        )
        found.subject_hash = found.store.begin(found.subject)
        yield found


def ngram(shortest: int = 2, longest: int = 4, drafted: int = 4) -> EngineSetting:
    return Vllm().ngram_setting(shortest, longest, drafted)


def plain_figures(concurrency: int, speed: float = 40.0, requests: int = 3) -> EngineMeasurement:
    """Of texts that are written at `speed` tokens per second in all."""
    tokens = requests * TOKENS
    return EngineMeasurement(
        setting=PLAIN,
        concurrency=concurrency,
        tokens=tokens,
        seconds=tokens / speed,
        requests=requests,
        token_ms=(1e3 * concurrency / speed, 1e3 * concurrency / speed),
    )


def text(prompt: list[int], answer: list[int]) -> EngineText:
    return EngineText(prompt_id="p", task="t", prompt=tuple(prompt), answer=tuple(answer))
