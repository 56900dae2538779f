"""What the stages of a run have in common, and their list."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch

from benchmarks.gpu.bound import weight_bytes
from benchmarks.gpu.measured.batches import decode_batches
from benchmarks.gpu.measured.calibration import calibrate_quickly
from benchmarks.gpu.measured.decoding import decode, decode_calibrated
from benchmarks.gpu.measured.device_tests import run_tests
from benchmarks.gpu.measured.library import decode_library, decode_library_compiled
from benchmarks.gpu.measured.row_times import time_rows
from benchmarks.gpu.measured.warm_up import warm_up
from benchmarks.gpu.race import Course
from benchmarks.gpu.stages import Skipped, Stage, Work
from benchmarks.gpu.wide_model import added_layers, wide_model
from casspec.profiler.device import measure_ceilings
from casspec.runtime.loading.profiles import LoadedProfile
from casspec.runtime.model.target import TargetModel
from casspec.storage.schema import DeviceCeilings
from casspec.tuner.suites.load import load_suite
from casspec.tuner.suites.prompts import Suite, reporting_half, spread_over_tasks
from casspec.tuner.suites.token_prompts import token_prompts, with_room

SUITE = "reference"
BATCH_TOKENS = 64
BATCH_ROUNDS = 2


@dataclass
class Bench:
    """What is measured, and what the stages before have made.

    Attributes:
        config: of the testbed. n_prompts, n_tokens, rounds: of every race.
    """

    device: str
    config: dict[str, Any]
    n_prompts: int
    n_tokens: int
    rounds: int
    target: TargetModel | None = None
    ceilings: DeviceCeilings | None = None
    profile: LoadedProfile | None = None

    @cached_property
    def suite(self) -> Suite:
        return load_suite(SUITE)

    @cached_property
    def course(self) -> Course:
        target, _ = self.made
        prompts = with_room(target, reporting_half(self.suite), self.n_tokens)
        return Course(token_prompts(target, spread_over_tasks(prompts, self.n_prompts)), self.n_tokens, self.rounds)

    @property
    def made(self) -> tuple[TargetModel, DeviceCeilings]:
        """Model and ceilings; stages that need them run after those that make them."""
        assert self.target is not None
        assert self.ceilings is not None
        return self.target, self.ceilings

    # ------------------------------------------------------------------------------------------------------ the stages

    def measure_ceilings(self, work: Work) -> None:
        found = self.ceilings = measure_ceilings(self.device)
        work.keep(
            {"bandwidth_gb_per_s": found.bandwidth_gb_per_s, "launch_us": found.launch_us} | dict(found.matmul_tflops)
        )

    def make_model(self, work: Work) -> None:
        target = self.target = wide_model(self.config, self.device)
        work.keep(
            {
                "parameters": target.parameter_count / 1e6,
                "layers": target.n_layers,
                "weights_gb": weight_bytes(target.costs(), target.n_layers) / 1e9,
                "token_bytes": target.cached_bytes,
                "backend": target.backend,
                "dtype": target.dtype_name,
            }
        )
        if added_layers(self.config):
            work.note(f"{added_layers(self.config)} of its layers do nothing; they read their weights like any other")

    def warm_up(self, work: Work) -> None:
        warm_up(work, self.made[0])

    def time_rows(self, work: Work) -> None:
        time_rows(work, *self.made, self.rounds)

    def race(self, stage: Callable[[Work, TargetModel, DeviceCeilings, Course], None], work: Work) -> None:
        """A stage that decodes the prompts."""
        stage(work, *self.made, self.course)

    def decode_batches(self, work: Work) -> None:
        course = self.course
        n_tokens, rounds = min(BATCH_TOKENS, self.n_tokens), min(BATCH_ROUNDS, self.rounds)
        decode_batches(work, *self.made, Course(course.prompts, n_tokens, rounds, course.seed))

    def calibrate(self, work: Work) -> None:
        if added_layers(self.config):
            raise Skipped("layers that do nothing could be left out for free, so that its profile would say nothing")
        self.profile = calibrate_quickly(work, self.made[0], self.suite)

    def decode_calibrated(self, work: Work) -> None:
        assert self.profile is not None
        decode_calibrated(work, *self.made, self.course, self.profile)


def stages_of(bench: Bench, tests: bool) -> list[Stage]:
    """What a run consists of, in its order; shares are about the seconds of a run of eight minutes."""
    made = ("ceilings", "model")
    stages = [
        Stage("tests", run_tests, 90, 10),
        Stage("ceilings", bench.measure_ceilings, 6, 3, is_base=True),
        Stage("model", bench.make_model, 20, is_base=True),
        Stage("warm-up", bench.warm_up, 20, needs=made, is_base=True),
        Stage("forwards", bench.time_rows, 10, needs=made),
        Stage("decoding", partial(bench.race, decode), 100, 5, made),
        Stage("batches", bench.decode_batches, 60, 5, made),
        Stage("library", partial(bench.race, decode_library), 40, 5, made),
        Stage("calibration", bench.calibrate, 100, 20, made),
        Stage("calibrated", bench.decode_calibrated, 40, 5, ("calibration",)),
        Stage("library-compiled", partial(bench.race, decode_library_compiled), 30, 10, made),
    ]
    return [_tidy(stage) for stage in stages if tests or stage.name != "tests"]


def _tidy(stage: Stage) -> Stage:
    """The stage, which leaves no memory of its own behind on the device."""

    def run(work: Work) -> None:
        try:
            stage.run(work)
        finally:
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    return replace(stage, run=run)
