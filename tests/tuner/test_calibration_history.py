"""What the store knows of one calibration, read at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from casspec.profiler.stored import VERDICT_KIND
from casspec.storage import open_repository
from casspec.storage.errors import ProfileNotFound
from casspec.storage.repository import Repository
from casspec.tuner.calibration_history import CalibrationHistory, latest_of_modes
from tests.storage import samples


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    with open_repository(str(tmp_path / "casspec.db")) as opened:
        yield opened


def test_a_history_holds_all_that_was_stored_on_the_way_to_the_profile(repository: Repository) -> None:
    calibration_id = repository.calibration(samples.model(), samples.device(), "float32", {"seed": 3}).calibration_id
    candidates = [samples.candidate((layer,)) for layer in (3, 1, 2)]
    for candidate in candidates:
        repository.save_candidate(calibration_id, candidate)
    repository.save_latency_sample(calibration_id, samples.sample())
    repository.put_document(calibration_id, VERDICT_KIND, "int8-dynamic", {"reason": None})
    matrix = repository.save_artifact("recycling-matrix", b"matrix", calibration_id)
    profile = repository.save_profile(calibration_id, samples.profile(artifacts=(matrix,)))
    report = repository.save_bench(profile.content_hash(), samples.bench_report())
    repository.set_alias("production", profile.content_hash())

    history = CalibrationHistory.of_profile(repository, profile.content_hash())
    assert (history.profile, history.calibration_id) == (profile, calibration_id)
    assert history.settings == {"seed": 3}
    assert list(history.candidates) == candidates
    assert list(history.samples) == [samples.sample()]
    assert list(history.reports) == [report]
    assert history.verdicts == {"int8-dynamic": {"reason": None}}
    assert history.files == {"recycling-matrix": b"matrix"}
    assert history.aliases["production"] == profile.content_hash()
    assert history.name == "tiny on test processor, float32"


def test_settings_are_told_one_by_one_with_their_stage() -> None:
    nested = {"seed": 3, "search": {"trials": 12, "seconds": 1.5}, "profile": {"seconds": 2.0}}
    assert CalibrationHistory(samples.profile(), settings=nested).flat_settings == {
        "seed": 3,
        "search.trials": 12,
        "search.seconds": 1.5,
        "profile.seconds": 2.0,
    }


def test_an_imported_profile_has_its_benchmarks_alone(repository: Repository) -> None:
    profile = repository.save_profile(None, samples.profile())
    report = repository.save_bench(profile.content_hash(), samples.bench_report())
    history = CalibrationHistory.of_profile(repository, profile.content_hash())
    assert (history.calibration_id, history.candidates, history.samples) == (None, (), ())
    assert list(history.reports) == [report]
    with pytest.raises(ProfileNotFound):
        CalibrationHistory.of_profile(repository, "f" * 64)


def test_the_latest_benchmark_of_a_mode_gives_its_rows_and_older_ones_give_the_other_mode() -> None:
    greedy, sample = samples.bench_row(mode="greedy"), samples.bench_row(mode="sample")
    newest, both = samples.bench_report(rows=(greedy,)), samples.bench_report(noise=0.02, rows=(greedy, sample))
    oldest = samples.bench_report(noise=0.03, rows=(sample,))
    first, second = latest_of_modes([newest, both, oldest])
    assert first == newest
    assert (second.rows, second.noise) == ((sample,), 0.02)
    history = CalibrationHistory(samples.profile(), reports=[newest, both, oldest])
    assert history.newest_reports == [first, second]
    assert latest_of_modes([]) == []
