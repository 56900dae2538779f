"""What a calibration measured: kept once, found again by what it was measured of."""

from __future__ import annotations

import pytest

from casspec.storage.errors import StorageError
from casspec.storage.repository import Repository
from casspec.storage.schema import Precision, Quantization
from tests.storage import samples
from tests.storage.test_repository import start


def test_same_inputs_continue_the_same_calibration(repository: Repository) -> None:
    assert start(repository) == start(repository)


@pytest.mark.parametrize(
    ("model", "device", "dtype", "settings"),
    [
        ({"weights_sha256": "x" * 64}, {}, "float32", {}),
        ({}, {"threads": 1}, "float32", {}),
        ({}, {}, "bfloat16", {}),
        ({}, {}, "float32", {"suite": "t" * 64}),
    ],
)
def test_any_other_input_is_another_calibration(repository: Repository, model, device, dtype, settings) -> None:
    other = repository.calibration(samples.model(**model), samples.device(**device), dtype, samples.SETTINGS | settings)
    assert other.calibration_id != start(repository)


def test_a_model_is_recognised_from_another_directory(repository: Repository) -> None:
    moved = repository.calibration(samples.model(name="moved"), samples.device(), "float32", samples.SETTINGS)
    assert moved.calibration_id == start(repository)


def test_saving_twice_keeps_one_row_and_the_first_value(repository: Repository) -> None:
    calibration_id = start(repository)
    first, second = samples.sample(value=2.0), samples.sample(value=9.0, order=5)
    assert repository.save_latency_sample(calibration_id, first) == first
    assert repository.save_latency_sample(calibration_id, second) == first
    assert repository.latency_samples(calibration_id) == [first]

    found, repeated = samples.candidate(acceptance=0.6), samples.candidate(acceptance=0.9, source="tpe")
    assert repository.save_candidate(calibration_id, found) == found
    assert repository.save_candidate(calibration_id, repeated) == found
    assert repository.candidates(calibration_id) == [found]

    fitted = samples.latency_model()
    assert repository.latency_model(calibration_id) is None
    assert repository.save_latency_model(calibration_id, fitted) == fitted
    assert repository.save_latency_model(calibration_id, samples.latency_model(noise=0.5)) == fitted
    assert repository.latency_model(calibration_id) == fitted

    profile = repository.save_profile(calibration_id, samples.profile())
    assert repository.save_profile(calibration_id, samples.profile(seed=7)) == profile
    assert repository.profiles() == [profile]


def test_candidates_are_told_apart_by_skip_set_and_precision(repository: Repository) -> None:
    calibration_id = start(repository)
    found = [
        samples.candidate(layers, quantization=Quantization(precision=precision))
        for precision in Precision
        for layers in ((), (1, 2))
    ]
    for candidate in (*found, *found):
        assert repository.save_candidate(calibration_id, candidate) == candidate
    assert repository.candidates(calibration_id) == found
    dearer = samples.candidate(quantization=Quantization(precision=Precision.INT8_DYNAMIC, extra_bytes=7))
    first = repository.save_candidate(calibration_id, dearer)
    again = dearer.model_copy(update={"quantization": Quantization(precision=Precision.INT8_DYNAMIC)})
    assert repository.save_candidate(calibration_id, again) == first


def test_measurements_come_back_in_the_order_they_were_taken(repository: Repository) -> None:
    calibration_id = start(repository)
    taken = [samples.sample(n_tokens=n, order=order) for order, n in enumerate((8, 1, 4))]
    for entry in reversed(taken):
        repository.save_latency_sample(calibration_id, entry)
    assert repository.latency_samples(calibration_id) == taken
    found = [samples.candidate(layers=layers) for layers in ((5,), (1, 2), (3,))]
    for entry in found:
        repository.save_candidate(calibration_id, entry)
    assert repository.candidates(calibration_id) == found


def test_stage_outputs_are_kept_by_kind_and_key(repository: Repository) -> None:
    calibration_id = start(repository)
    assert repository.get_document(calibration_id, "recording", "p1") is None
    assert repository.put_document(calibration_id, "recording", "p1", {"tokens": [1, 2]}) == {"tokens": [1, 2]}
    assert repository.put_document(calibration_id, "recording", "p1", {"tokens": [3]}) == {"tokens": [1, 2]}
    repository.put_document(calibration_id, "recording", "p0", None)
    repository.put_document(calibration_id, "sensitivity", "p1", 0.5)
    assert repository.documents(calibration_id, "recording") == {"p0": None, "p1": {"tokens": [1, 2]}}


def test_measurements_of_a_deleted_calibration_are_refused_in_one_line(repository: Repository) -> None:
    with pytest.raises(StorageError, match="start the run again"):
        repository.save_latency_sample("gone-1", samples.sample())


def test_device_ceilings_are_replaced_by_newer_ones(repository: Repository) -> None:
    assert repository.device_ceilings(samples.device()) is None
    repository.save_device(samples.device(ceilings=samples.ceilings(20.0)))
    repository.save_device(samples.device(ceilings=samples.ceilings(25.0)))
    repository.save_device(samples.device())
    assert repository.device_ceilings(samples.device()) == samples.ceilings(25.0)
