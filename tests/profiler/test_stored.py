"""A profile in the store: resumed after a kill, answered when finished, with ceilings and precisions measured once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from casspec.profiler import precisions, stored
from casspec.profiler.design import design
from casspec.profiler.profile import RETEST_POINTS
from casspec.profiler.refinement import REFINING_POINTS
from casspec.runtime.latency.predictor import LatencyPredictor
from casspec.runtime.loading.device import device_fingerprint
from casspec.runtime.loading.fingerprint import model_fingerprint
from casspec.runtime.model.plan import Plan
from casspec.runtime.model.target import TargetModel
from casspec.storage.database.connection import open_database
from casspec.storage.repository import Repository
from casspec.storage.schema import DeviceFingerprint, LatencySample, Precision, Quantization, SkipSet
from tests.profiler.fakes import tiny_target
from tests.profiler.whole_profile import BUDGET_SECONDS, CEILINGS, ROOMY, Run

INT8, INT4 = Precision.INT8_DYNAMIC, Precision.INT4_WEIGHT


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Repository]:
    database = open_database(str(tmp_path / "casspec.db"))
    yield Repository(database)
    database.close()


class Killed(BaseException):
    pass


def test_a_killed_profile_resumes_to_exactly_one_row_a_point(
    store: Repository, target: TargetModel, device: DeviceFingerprint, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = store.calibration(model_fingerprint(target), device, "float32", {}).calibration_id
    store.save_device(device)
    save, saved = Repository.save_latency_sample, []

    def save_then_die(self: Repository, calibration_id: str, sample: LatencySample) -> LatencySample:
        if len(saved) == 40:
            raise Killed
        saved.append(sample)
        return save(self, calibration_id, sample)

    with monkeypatch.context() as patch:
        patch.setattr(Repository, "save_latency_sample", save_then_die)
        with pytest.raises(Killed):
            stored.profile_stored(store, key, target, device, budget_seconds=BUDGET_SECONDS)
    assert len(store.latency_samples(key)) == 40

    model = stored.profile_stored(store, key, target, device, budget_seconds=BUDGET_SECONDS)
    rows = store.latency_samples(key)
    assert rows[:40] == saved
    assert set(design(target).points) < {row.point for row in rows}
    assert len(rows) == len({row.point for row in rows}) == len(design(target).points) + REFINING_POINTS
    assert len(store.documents(key, stored.RETEST_KIND)) == RETEST_POINTS
    assert store.latency_model(key) == model


def test_a_stored_latency_model_answers_without_measuring(
    store: Repository, target: TargetModel, device: DeviceFingerprint, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = store.calibration(model_fingerprint(target), device, "float32", {}).calibration_id
    store.save_latency_model(key, run.model)
    monkeypatch.setattr(stored, "profile_latency", lambda *_, **__: pytest.fail("measured again"))
    assert stored.profile_stored(store, key, target, device) == run.model


def test_ceilings_are_measured_once_for_a_device(
    store: Repository, target: TargetModel, device: DeviceFingerprint, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[object] = []
    monkeypatch.setattr(stored, "measure_ceilings", lambda device: measured.append(device) or CEILINGS)
    bare = device.model_copy(update={"ceilings": None})
    found = [stored.with_ceilings(store, bare, target).ceilings for _ in range(2)]
    assert found == [CEILINGS, CEILINGS]
    assert len(measured) == 1


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    database = open_database(str(tmp_path / "profile.db"))
    yield Repository(database)
    database.close()


@pytest.mark.usefixtures("generous")
def test_a_profile_measures_what_passes_the_screen_and_says_what_is_offered(repository: Repository) -> None:
    target = tiny_target(**ROOMY)
    device = device_fingerprint("cpu").model_copy(update={"ceilings": CEILINGS})
    repository.save_device(device)
    key = repository.calibration(model_fingerprint(target), device, "float32", {}).calibration_id
    model = stored.profile_stored(repository, key, target, device, budget_seconds=BUDGET_SECONDS)

    measured = {row.point for row in repository.latency_samples(key)}
    assert set(design(target, precisions=[INT4]).points) < measured
    found = stored.verdicts(repository, key)
    assert list(found) == [INT8, INT4]
    assert found[INT8].reason == "no kernel here"
    assert set(found[INT4].ratios) == set(precisions.QUERY_TOKENS)
    assert stored.offered(repository, key) == [Quantization(precision=INT4, extra_bytes=found[INT4].extra_bytes)]
    assert any(name.startswith("int4-weight:") for name in model.features)
    assert not any(name.startswith("int8-dynamic:") for name in model.features)
    plan = Plan.skipping(SkipSet(), target.n_layers, precision=INT4)
    assert LatencyPredictor(model).forward_ms(plan, 4, 64) > 0
