"""The stage that measures latencies: what the settings ask for, once."""

from __future__ import annotations

from pathlib import Path

from casspec.profiler.progress import silent
from casspec.storage import open_repository
from casspec.tuner.calibration.profile import profile
from tests.tuner.small_calibration import begun


def test_latencies_reach_as_far_as_the_settings_say_and_are_measured_once(tmp_path: Path) -> None:
    database, told = str(tmp_path / "casspec.db"), list[int]()
    with open_repository(database) as repository:
        context = begun(repository, database)
        latency = profile(context, lambda done, total=None, note="": told.append(done))
        measured = repository.latency_samples(context.calibration_id)
        assert told
        assert {sample.point.batch for sample in measured} == {1, context.settings.profile.max_batch}
        assert max(sample.point.context_tokens for sample in measured) <= context.settings.profile.max_context
        told.clear()
        assert profile(context, silent) == latency
        assert repository.latency_samples(context.calibration_id) == measured
