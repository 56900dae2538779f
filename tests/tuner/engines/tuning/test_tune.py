"""The whole search over the fake engine: an outcome, the same after kills, within its budget."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from casspec.storage import open_repository
from casspec.storage.engines.documents import (
    EngineLatencyPoint,
    EngineMeasurement,
    EngineResult,
    EngineText,
    EngineTrial,
)
from casspec.storage.errors import EngineError
from casspec.tuner.engines.known.llama_cpp import LlamaCpp
from casspec.tuner.engines.known.sglang import Sglang
from casspec.tuner.engines.known.tensorrt_llm import TensorrtLlm
from casspec.tuner.engines.protocol import Engine
from casspec.tuner.engines.tuning import tune as tune_module
from casspec.tuner.engines.tuning.budget import Budget
from casspec.tuner.engines.tuning.confirm import ROUNDS
from casspec.tuner.engines.tuning.latency import DRAFTS
from casspec.tuner.engines.tuning.latency import ROUNDS as STEP_ROUNDS
from casspec.tuner.engines.tuning.session import (
    CONFIRM_KIND,
    PLAIN_KIND,
    STEP_KIND,
    TEXT_KIND,
    OutOfTime,
    Session,
)
from casspec.tuner.engines.tuning.tune import tune
from casspec.tuner.engines.tuning.workload import GROUPS
from tests.storage.engines.test_documents import result
from tests.tuner.engines.test_guard import gone, is_alive
from tests.tuner.engines.tuning.made_up import CONCURRENCY, session

PROGRAM = """
import sys
from pathlib import Path
from casspec.tuner.engines.tuning.tune import tune
from tests.tuner.engines.tuning.made_up import session
with session(Path(sys.argv[1])) as made:
    print("begun", flush=True)
    made.say = lambda line: print(line, flush=True)
    tune(made)
"""


@pytest.fixture(autouse=True)
def quick(fake_vllm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of the fake take 4 ms, whatever is drafted."""
    monkeypatch.setenv("FAKE_VLLM", json.dumps({"step_ms": 4, "request_ms": 0.1, "token_ms": 0.01}))


def rows(tmp_path: Path) -> dict[str, list[str]]:
    """Keys of everything that is stored of the one search."""
    kinds = {
        TEXT_KIND: EngineText,
        PLAIN_KIND: EngineMeasurement,
        STEP_KIND: EngineLatencyPoint,
        CONFIRM_KIND: EngineMeasurement,
    }
    with open_repository(str(tmp_path / "casspec.db")) as repository, session(tmp_path) as made:
        return {
            kind: sorted(repository.engines.saved(made.subject_hash, kind, document))
            for kind, document in kinds.items()
        }


def test_text_that_repeats_the_prompt_is_written_faster(tmp_path: Path) -> None:
    with session(tmp_path) as made:
        found = tune(made)
        assert made.store.result("latest") == found
        assert found.configuration is not None
        assert found.configuration["method"] == "ngram"
        assert all(each.gain > 1.3 and each.low > 1.0 for each in found.configured)
        assert found.latency is not None
        assert tune(made) == found
    stored = rows(tmp_path)
    assert len(stored[TEXT_KIND]) == 3
    assert len(stored[STEP_KIND]) == len(DRAFTS) * len(CONCURRENCY) * STEP_ROUNDS
    assert len(stored[CONFIRM_KIND]) % (len(CONCURRENCY) * GROUPS) == 0


def test_a_budget_that_is_too_short_says_so_and_the_next_goes_on(tmp_path: Path) -> None:
    lines: list[str] = []
    with session(tmp_path) as made:

        def until_candidates(line: str) -> None:
            if line.startswith("candidate"):
                made.budget = Budget(0.0, 1.0)

        made.say = until_candidates
        with pytest.raises(OutOfTime, match="run the same command again"):
            tune(made)
        assert made.store.results() == []
        made.say, made.budget = lines.append, Budget(600.0, 1.0)
        assert tune(made).configuration is not None
        assert not any("texts" in line or "steps by" in line for line in lines if line.startswith("starting"))


@pytest.mark.engines
def test_an_engine_that_is_killed_is_started_again(tmp_path: Path) -> None:
    killed: list[str] = []

    def kill(line: str) -> None:
        """After the first text, the first step, and in the middle of a round."""
        for moment in ("texts, 2", "step 3/", "round 2"):
            if moment in line and moment not in killed:
                killed.append(moment)
                for children in Path("/proc/self/task").glob("*/children"):
                    for guard in children.read_text().split():
                        for engine in Path(f"/proc/{guard}/task/{guard}/children").read_text().split():
                            os.kill(int(engine), signal.SIGKILL)

    with session(tmp_path) as made:
        made.say = kill
        found = tune(made)
    assert found.configuration is not None
    assert len(killed) >= 2
    assert not any("failed" in note for note in found.notes)


@pytest.mark.engines
def test_a_killed_search_goes_on_and_leaves_no_engine(tmp_path: Path) -> None:
    chance = random.Random(0)
    for _ in range(5):
        program = subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert program.stdout is not None
        for _ in range(chance.randint(2, 12)):
            program.stdout.readline()
        below = [int(word) for word in Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text().split()]
        program.kill()
        program.wait()
        assert gone(below)
        assert not any(map(is_alive, below))
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "begun" in done.stdout
    stored = rows(tmp_path)
    assert len(stored[TEXT_KIND]) == 3
    assert stored[PLAIN_KIND] == [str(each) for each in CONCURRENCY]
    assert len(stored[STEP_KIND]) == len(DRAFTS) * len(CONCURRENCY) * STEP_ROUNDS
    by_setting: dict[tuple[str, str], int] = {}
    for key in stored[CONFIRM_KIND]:
        setting, number, *_ = key.split("/")
        by_setting[setting, number] = by_setting.get((setting, number), 0) + 1
    assert set(by_setting.values()) == {len(CONCURRENCY) * GROUPS}
    assert {number for _, number in by_setting} <= {str(number) for number in range(ROUNDS)}


def test_measuring_anew_forgets_what_was_measured_and_nothing_of_a_search_that_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Enough(Exception):
        """The texts are what is looked at."""

    def enough(made: Session) -> None:
        raise Enough

    monkeypatch.setattr(tune_module, "step_time", enough)
    with session(tmp_path) as made:
        with pytest.raises(Enough):
            tune(made)
        first = made.store.save_result(result(subject=made.subject))
        with made.store.alone(made.subject_hash), pytest.raises(EngineError, match="another process"):
            tune(made, anew=True)
        assert made.store.result("latest") == first
        before = rows(tmp_path)
        lines: list[str] = []
        made.say = lines.append
        with pytest.raises(Enough):
            tune(made, anew=True)
        assert any(line.startswith("texts, 1") for line in lines)
        assert rows(tmp_path)[TEXT_KIND] == before[TEXT_KIND]


def test_two_do_not_search_at_once(tmp_path: Path) -> None:
    with (
        session(tmp_path) as made,
        made.store.alone(made.subject_hash),
        pytest.raises(EngineError, match="another process"),
    ):
        tune(made)


def kin(tmp_path: Path, engine: Engine, program: Path) -> tuple[EngineResult, list[EngineTrial], list[str]]:
    """A search over the fake of another engine: what came of it, what was predicted, and what was said."""
    lines: list[str] = []
    with session(tmp_path, engine=engine, program=program, lines=lines) as made:
        made.workload = replace(made.workload, encode=lambda text: [int(word) for word in text.split()])
        return tune(made), made.store.trials(made.subject_hash), lines


def test_llama_cpp_accepts_what_replay_said(tmp_path: Path, llama_server: Path) -> None:
    found, trials, lines = kin(tmp_path, LlamaCpp(), llama_server)
    assert found.configuration is not None
    assert found.configuration["spec-type"] == "ngram-simple"
    assert all(each.low > 1.0 for each in found.configured)
    assert any("takes no probe" in line for line in lines)
    candidates = [line for line in lines if line.startswith("candidate ngram-simple")]
    assert len({line.split("size-m=")[1].split(" ")[0] for line in candidates}) == len(candidates) > 1
    chosen = found.configured[0].setting
    predicted = next(each for each in trials if each.setting == chosen)
    assert predicted.acceptance_length is not None
    assert predicted.acceptance_length > 1.5
    assert found.latency is None


def test_sglang_forgets_before_it_is_asked_again(tmp_path: Path, llama_server: Path) -> None:
    found, trials, _ = kin(tmp_path, Sglang(), Path(sys.executable))
    assert trials == []
    assert found.configuration is not None
    assert found.configuration["speculative-algorithm"] == "NGRAM"
    first, second = (each.acceptance_length for each in found.configured)
    assert first is not None
    assert first > 2
    assert second == pytest.approx(first, rel=0.1), "the second was not drafted what the first was answered"


def test_tensorrt_llm_is_measured_without_a_count_of_drafts(tmp_path: Path, llama_server: Path) -> None:
    found, trials, _ = kin(tmp_path, TensorrtLlm(), Path(sys.executable))
    assert trials
    assert found.configuration is not None
    assert found.configuration["speculative_config"]["decoding_type"] == "NGram"
    assert all(each.gain > 1.2 and each.acceptance_length is None for each in found.configured)


@pytest.mark.parametrize("engine", [LlamaCpp(), Sglang(), TensorrtLlm()], ids=lambda engine: str(engine.name))
def test_another_engine_that_does_not_start_is_one_line(
    engine: Engine, tmp_path: Path, llama_server: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = llama_server if isinstance(engine, LlamaCpp) else Path(sys.executable)
    monkeypatch.setenv("FAKE_VLLM", '{"refuses": ["off"]}')
    with pytest.raises(EngineError, match="error: no such speculation here"):
        kin(tmp_path, engine, program)
    monkeypatch.setenv("FAKE_VLLM", '{"no_metrics": true}')
    monkeypatch.setattr("casspec.tuner.engines.process.MOMENT_S", 0.1)  # it does not end
    with session(tmp_path, engine=engine, program=program, seed=1) as made, pytest.raises(EngineError, match="metrics"):
        tune(made)
