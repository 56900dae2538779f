"""What the stages are tested with: a tiny model, ceilings, and a stage's work that nobody watches."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from benchmarks.gpu.race import Course
from benchmarks.gpu.stages import Outcome, Work
from casspec.runtime.model.target import TargetModel
from casspec.storage.schema import DeviceCeilings
from casspec.tuner.suites.token_prompts import TokenPrompt
from tests.tuner.tiny import VOCAB, tiny_target


@pytest.fixture(scope="session")
def target() -> TargetModel:
    return tiny_target(n_layers=3)


@pytest.fixture
def ceilings() -> DeviceCeilings:
    return DeviceCeilings(bandwidth_gb_per_s=10.0, matmul_tflops={"float32": 0.1}, launch_us=1.0)


@pytest.fixture
def course() -> Course:
    def prompt(name: str, n: int) -> TokenPrompt:
        return TokenPrompt(name, "count", tuple((7 * place) % VOCAB for place in range(n)))

    return Course([prompt("a", 5), prompt("b", 9)], n_tokens=6, rounds=2)


@pytest.fixture
def new_work() -> Callable[..., Work]:
    """A stage's work with so many seconds."""

    def make(seconds: float = 1000.0, clock: Callable[[], float] = lambda: 0.0) -> Work:
        return Work(Outcome("tried"), seconds, lambda: None, lambda _: None, clock)

    return make


@pytest.fixture
def work(new_work: Callable[..., Work]) -> Work:
    return new_work()


@pytest.fixture
def without_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow takes seconds to create its tables."""
    monkeypatch.setattr("casspec.tuner.calibration.publish.tell_mlflow", lambda *_: None)
