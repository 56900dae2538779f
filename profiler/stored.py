"""A latency profile that lives in the database: every point is a row as soon as it is measured."""

from __future__ import annotations

from casspec.profiler.device import measure_ceilings
from casspec.profiler.measure import Progress
from casspec.profiler.profile import BUDGET_SECONDS, profile_latency
from casspec.runtime.target import TargetModel
from casspec.storage.measurements import Measurements
from casspec.storage.schema import DeviceFingerprint, LatencyModel, LatencySample

RETEST_KIND = "latency-retest"
"""Second measurements are stage documents: the point, their natural key, is taken by the first."""


def with_ceilings(store: Measurements, device: DeviceFingerprint, target: TargetModel) -> DeviceFingerprint:
    """The device with the ceilings stored for it; measured and stored when there are none yet."""
    ceilings = store.device_ceilings(device)
    if ceilings is None:
        ceilings = measure_ceilings(target.device)
        store.save_device(device.model_copy(update={"ceilings": ceilings}))
    return device.model_copy(update={"ceilings": ceilings})


def profile_stored(
    store: Measurements,
    calibration_id: str,
    target: TargetModel,
    device: DeviceFingerprint,
    progress: Progress | None = None,
    budget_seconds: float = BUDGET_SECONDS,
    seed: int = 0,
) -> LatencyModel:
    """The latency model of a calibration: the stored one, or what is still missing is measured, fitted and stored.

    `seed` belongs to the calibration: a resumed run must bring the same one.
    """
    model = store.latency_model(calibration_id)
    if model is not None:
        return model
    retests = store.documents(calibration_id, RETEST_KIND).values()
    model = profile_latency(
        target,
        with_ceilings(store, device, target),
        store.latency_samples(calibration_id),
        lambda sample: store.save_latency_sample(calibration_id, sample),
        progress,
        budget_seconds,
        seed,
        stored_retests=[LatencySample.model_validate(document) for document in retests],
        save_retest=lambda sample: store.put_document(
            calibration_id, RETEST_KIND, sample.point.canonical_json(), sample.model_dump(mode="json")
        ),
    )
    return store.save_latency_model(calibration_id, model)
