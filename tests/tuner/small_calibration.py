"""A whole calibration of a tiny random model, runnable as a process of its own so that it can be killed.

python -m tests.tuner.small_calibration DATABASE
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from casspec.profiler.progress import Progress
from casspec.runtime.model.target import TargetModel
from casspec.storage import open_repository
from casspec.storage.repository import Repository
from casspec.storage.schema import AcceptanceCell, AcceptancePrior, CascadeProfile, LatencyModel, MethodSettings
from casspec.tuner.calibration.attempt import begin
from casspec.tuner.calibration.calibrate import calibrate as run
from casspec.tuner.context import CalibrationContext
from casspec.tuner.external_databases import external_databases
from casspec.tuner.methods.by_replay import TunedMethods
from casspec.tuner.recordings.recording import Recording
from casspec.tuner.replay.overhead import Overheads
from casspec.tuner.settings import CalibrationSettings
from casspec.tuner.suites.prompts import Prompt, Suite
from tests.tuner.tiny import VOCAB, tiny_target

SUITE = Suite(
    name="small",
    prompts=tuple(
        Prompt(
            id=f"{task}/{i}", task=task, turns=(" ".join(f"w{(i * 7 + j) % VOCAB}" for j in range(5 + i)),), half=half
        )
        for task in ("count", "skip")
        for i in range(4)
        for half in (("tuning", "reporting")[i % 2],)
    ),
)
SETTINGS = CalibrationSettings(suite=SUITE.name, suite_sha256=SUITE.content_hash()).changed(
    {
        "profile": {"seconds": 0.05, "rounds": 1, "max_batch": 2},
        "record": {"prompts": 3, "tokens": 12},
        "search": {"recordings": 2, "trials": 12, "seconds": 1e6, "patience": 1000},
        "cascade": {"probed_steps": 2, "tuning_seconds": 0.5},
        "bench": {"prompts": 1, "tokens": 8},
    }
)


class StageLog:
    """Bars that nobody sees; remembers which stages ran and calls `on_update` with (stage, done)."""

    def __init__(self, on_update: Callable[[str, int], None] = lambda stage, done: None) -> None:
        self.entered: list[str] = []
        self._on_update = on_update

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Progress]:
        self.entered.append(name)
        yield self

    def __call__(self, done: int, total: int | None = None, note: str = "") -> None:
        self._on_update(self.entered[-1], done)


def small_target() -> TargetModel:
    tokenizer = Tokenizer(models.WordLevel({f"w{i}": i for i in range(VOCAB)}, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    target = tiny_target()
    target.tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="w0")
    return target


def tuned_by_nobody(
    target: TargetModel,
    recordings: Sequence[Recording],
    latency: LatencyModel,
    overheads: Overheads,
    progress: Progress,
) -> TunedMethods:
    """Stands in for replaying methods, which has tests of its own."""
    prior = AcceptancePrior(mode="sample", cells=(AcceptanceCell(key="retrieval:3", accepted=1, trials=2),))
    settings = MethodSettings(method="prompt-lookup", variant="tuned", parameters={"n_tokens": 4})
    return TunedMethods((settings,), (prior,))


def begun(
    repository: Repository, database: str, settings: CalibrationSettings = SETTINGS, force: bool = False
) -> CalibrationContext:
    return begin(repository, external_databases(database), small_target(), SUITE, settings, force)


def calibrate(database: str, stages: StageLog, force: bool = False) -> CascadeProfile:
    with open_repository(database) as repository:
        return run(begun(repository, database, force=force), stages, tune=tuned_by_nobody)


if __name__ == "__main__":
    torch.set_num_threads(1)
    print("ready", flush=True)
    calibrate(sys.argv[1], StageLog(lambda stage, done: print(stage, done, flush=True)))
