"""A calibration as `casspec calibrate --quick` runs it, on the testbed, in a store of its own that is thrown away."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.gpu.forwards import available, with_graphs
from benchmarks.gpu.stages import Work
from casspec.profile_lookup import load_profile
from casspec.profiler.progress import Progress, silent
from casspec.runtime.loading.profiles import LoadedProfile
from casspec.runtime.model.target import TargetModel
from casspec.storage import open_repository
from casspec.storage.schema import CascadeProfile
from casspec.tuner.calibration.attempt import begin
from casspec.tuner.calibration.calibrate import calibrate
from casspec.tuner.external_databases import REGISTRY_VARIABLE, TRACKING_VARIABLE, external_databases
from casspec.tuner.settings import QUICK, CalibrationSettings, Changes
from casspec.tuner.suites.prompts import Suite


class _TimedStages:
    """Tells what every stage took."""

    def __init__(self, work: Work) -> None:
        self._work = work

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Progress]:
        begin = time.perf_counter()
        self._work.tell(name)
        yield silent
        self._work.keep({"part": name, "seconds": time.perf_counter() - begin})


def calibrate_quickly(work: Work, target: TargetModel, suite: Suite, changes: Changes = QUICK) -> LoadedProfile:
    """The profile; rows: seconds of each part. By graphs where there are some, as its profile is then used.

    Args:
        changes: of the settings of a usual calibration.
    """
    settings = CalibrationSettings(suite=suite.name, suite_sha256=suite.content_hash()).changed(changes)
    with TemporaryDirectory(prefix="casspec-gpu-") as folder, _nobody_told():
        storage = str(Path(folder) / "casspec.db")
        with open_repository(storage) as repository, with_graphs(target, available(target)[-1] == "graphs"):
            context = begin(repository, external_databases(storage), target, suite, settings)
            profile = calibrate(context, _TimedStages(work), tell=work.tell)
        loaded = load_profile(profile.profile_id, storage)
    for line in _said(profile):
        work.note(line)
    return loaded


def _said(profile: CascadeProfile) -> Iterator[str]:
    """What the profile says, in a few lines."""
    drafters = [drafter.name for drafter in profile.drafters if drafter.parameters.get("cascade", True)]
    yield f"decision: {profile.decision}, drafters: {', '.join(drafters)}"
    for mode, speedup in profile.predicted_speedup.items():
        yield f"predicted speedup of dytc, {mode}: {speedup:.2f}"
    for one in profile.predicted_by_batch:
        said = ", ".join(f"{mode} {speedup:.2f}" for mode, speedup in one.speedup.items())
        yield f"predicted at batch {one.batch}: {said}, {one.decision}"
    yield f"latency model: {profile.latency.kind}, noise {100 * profile.latency.noise:.1f} %"


@contextmanager
def _nobody_told() -> Iterator[None]:
    """Without the MLflow of a team, which is no place for a rehearsal."""
    kept = {name: os.environ.pop(name, None) for name in (TRACKING_VARIABLE, REGISTRY_VARIABLE)}
    try:
        yield
    finally:
        os.environ.update({name: value for name, value in kept.items() if value is not None})
