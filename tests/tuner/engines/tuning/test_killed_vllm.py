"""A search on a real vLLM, which is killed and goes on: CASSPEC_TEST_SMOLLM2 names the model's directory. It takes an hour."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from casspec.storage import open_repository
from casspec.storage.engines.documents import EngineLatencyPoint, EngineMeasurement, EngineResult, EngineText
from casspec.tuner.engines.guard import descendants
from casspec.tuner.engines.tuning.latency import DRAFTS
from casspec.tuner.engines.tuning.latency import ROUNDS as STEP_ROUNDS
from casspec.tuner.engines.tuning.session import CONFIRM_KIND, PLAIN_KIND, STEP_KIND, TEXT_KIND
from casspec.tuner.engines.tuning.workload import GROUPS
from tests.engine_environments import python_with
from tests.tuner.engines.test_guard import gone

pytestmark = [pytest.mark.engines, pytest.mark.timeout(2 * 3600)]

MARK = "CASSPEC_TEST_MARK"
"""A variable by which whatever a search started is known, wherever it went."""
PROMPTS, TOKENS, CONCURRENCY = 3, 16, (1, 2)
KILLS = 5
MOMENTS = ("starting vllm: texts", "texts, 2", "step 3/", "starting vllm: round 1", "starting vllm: round 1")
"""Lines after which the engine is killed: it loads after those of a start, and answers after the others."""


@dataclass
class Search:
    """The command of one search."""

    words: list[str]
    environment: Mapping[str, str]
    storage: str

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.environment
        )

    def left_behind(self) -> list[int]:
        """Processes that carry the mark."""
        mark = f"{MARK}={self.environment[MARK]}".encode()
        found = []
        for place in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if mark in place.read_bytes().split(b"\0"):
                    found.append(int(place.parent.name))
        return found


@pytest.fixture
def search(tmp_path: Path, prompts_file: Path) -> Search:
    model = os.environ.get("CASSPEC_TEST_SMOLLM2")
    if not model:
        pytest.skip("CASSPEC_TEST_SMOLLM2 names no directory of SmolLM2-135M-Instruct")
    storage = str(tmp_path / "casspec.db")
    words = [sys.executable, "-m", "casspec", "engine", "tune", "vllm", model, "--suite", str(prompts_file)]
    words += ["--engine-python", str(python_with("vllm")), "--concurrency", ",".join(map(str, CONCURRENCY))]
    words += ["--prompts", str(PROMPTS), "--tokens", str(TOKENS), "--budget", "2h", "--max-model-len", "512"]
    words += ["--device", "cpu", "--engine-arg=--enforce-eager", "--storage", storage]
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    return Search(words, environment | {MARK: uuid.uuid4().hex}, storage)


def test_a_killed_tuner_leaves_no_engine_and_the_next_goes_on(search: Search) -> None:
    chance = random.Random(0)
    for _ in range(KILLS):
        program = search.start()
        assert program.stderr is not None
        for _ in range(chance.randint(1, 10)):
            program.stderr.readline()
        wait_a_while(program, chance.uniform(0.0, 20.0))
        program.kill()
        program.communicate()
        assert gone(search.left_behind())
        assert search.left_behind() == []
    done = subprocess.run(search.words, capture_output=True, text=True, env=search.environment)
    assert done.returncode == 0, done.stderr
    check(search, done.stdout, done.stderr)


def test_a_killed_engine_is_started_again_and_no_row_is_lost(search: Search) -> None:
    chance = random.Random(1)
    left = list(MOMENTS)
    program = search.start()
    assert program.stderr is not None
    said = []
    for line in program.stderr:
        said.append(line)
        if left and line.startswith(left[0]):
            is_loading = left.pop(0).startswith("starting")
            wait_a_while(program, chance.uniform(0.0, 3.0 if is_loading else 0.5))
            kill_one(chance, program, is_loading)
    out, _ = program.communicate()
    assert program.returncode == 0, "".join(said)
    assert left == [], "".join(said)
    check(search, out, "".join(said))


def kill_one(chance: random.Random, tuner: subprocess.Popen[str], is_loading: bool) -> None:
    """Once there is an engine, a process of it: whichever where it answers, the first while it loads.

    A part that is killed while the whole loads cannot be told from an engine that refuses its setting.
    """
    while tuner.poll() is None:
        if engine := engine_below(tuner.pid):
            with suppress(ProcessLookupError):
                os.kill(engine[0] if is_loading else chance.choice(engine), signal.SIGKILL)
            return


def engine_below(tuner: int) -> list[int]:
    for pid in descendants(tuner):
        with suppress(OSError):
            if b"guard.py" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return descendants(pid)
    return []


def wait_a_while(program: subprocess.Popen[str], seconds: float) -> None:
    with suppress(subprocess.TimeoutExpired):
        program.wait(seconds)


def check(search: Search, out: str, err: str) -> None:
    """Whether there is an outcome whose rows are those of an uninterrupted search, and nothing runs any more."""
    assert "Traceback" not in err
    assert search.left_behind() == []
    found, keys = kept(search)
    told = out.splitlines()[-1]
    assert (None if told == "off" else json.loads(told)) == found.configuration
    n_texts = PROMPTS * len(CONCURRENCY)
    assert (found.subject.prompts, len(keys[TEXT_KIND])) == (n_texts, n_texts)
    assert keys[PLAIN_KIND] == [str(each) for each in CONCURRENCY]
    assert keys[STEP_KIND] == sorted(
        f"{repeat}/{batch}/{drafted}" for repeat in range(STEP_ROUNDS) for batch in CONCURRENCY for drafted in DRAFTS
    )
    of_round = Counter(tuple(key.split("/")[:2]) for key in keys[CONFIRM_KIND])
    assert of_round
    assert set(of_round.values()) == {len(CONCURRENCY) * GROUPS}
    assert not any("failed" in note for note in found.notes), found.notes


def kept(search: Search) -> tuple[EngineResult, dict[str, list[str]]]:
    """The outcome, and the keys of everything that was measured, by kind."""
    kinds = {
        TEXT_KIND: EngineText,
        PLAIN_KIND: EngineMeasurement,
        STEP_KIND: EngineLatencyPoint,
        CONFIRM_KIND: EngineMeasurement,
    }
    with open_repository(search.storage) as repository:
        found = repository.engines.result("latest")
        subject_hash = found.subject.content_hash()
        keys = {
            kind: sorted(repository.engines.saved(subject_hash, kind, document)) for kind, document in kinds.items()
        }
        with_answers = repository.engines.saved(subject_hash, TEXT_KIND, EngineText).values()
        assert all(0 < len(text.answer) <= TOKENS for text in with_answers)
    return found, keys
