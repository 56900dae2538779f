"""A latency profile that lives in the database: every point is a row as soon as it is measured."""

from __future__ import annotations

from casspec.profiler.design import LARGEST_CONTEXT, batches_up_to
from casspec.profiler.device import measure_ceilings
from casspec.profiler.measure import MIN_ROUNDS
from casspec.profiler.precisions import PrecisionVerdict, judge, screen
from casspec.profiler.profile import PROFILE_SECONDS, Scope, profile_latency
from casspec.profiler.progress import Progress, silent
from casspec.profiler.slowdown import at_median_slowdown
from casspec.profiler.timing import timer_for
from casspec.runtime.latency.features import QUANTISED
from casspec.runtime.model.lean.quantization import free_bytes
from casspec.runtime.model.target import TargetModel
from casspec.storage.measurements import VERDICT_KIND, Measurements
from casspec.storage.schema import DeviceFingerprint, LatencyModel, LatencySample, Precision, Quantization

RETEST_KIND = "latency-retest"
"""Second measurements are stage documents: the point, their natural key, is taken by the first."""

BATCH_KIND = "latency-batch"
"""Stage documents by batch: the cache rows a sequence of it may have, decided once by the memory that was free."""

BATCH_MEMORY_SHARE = 0.25
"""Of the free memory that the cache of the largest batch may take; those of smaller ones lie beside it."""

SCREEN_KIND = "precision-screen"
"""Stage documents by precision: the first verdict, which decides what is measured. `VERDICT_KIND` is the last."""


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
    progress: Progress = silent,
    budget_seconds: float = PROFILE_SECONDS,
    seed: int = 0,
    largest_context: int = LARGEST_CONTEXT,
    largest_batch: int = 1,
    least_rounds: int = MIN_ROUNDS,
) -> LatencyModel:
    """The latency model of a calibration: the stored one, or what is still missing is measured, fitted and stored.

    `seed`, `largest_context` and `largest_batch` belong to the calibration: a resumed run must bring the same ones.
    """
    model = store.latency_model(calibration_id)
    if model is not None:
        return model
    retests = store.documents(calibration_id, RETEST_KIND).values()
    screened = _screened(store, calibration_id, target)
    batches = _batch_rows(store, calibration_id, target, largest_batch)
    model = profile_latency(
        target,
        with_ceilings(store, device, target),
        store.latency_samples(calibration_id),
        lambda sample: store.save_latency_sample(calibration_id, sample),
        progress,
        budget_seconds,
        seed,
        scope=Scope(largest_context, tuple(worth_measuring(screened)), batches),
        least_rounds=least_rounds,
        stored_retests=[LatencySample.model_validate(document) for document in retests],
        save_retest=lambda sample: store.put_document(
            calibration_id, RETEST_KIND, sample.point.canonical_json(), sample.model_dump(mode="json")
        ),
    )
    samples = at_median_slowdown(store.latency_samples(calibration_id))
    for precision, first in screened.items():
        verdict = judge(first, samples)
        store.put_document(calibration_id, VERDICT_KIND, precision, verdict.model_dump(mode="json"))
        if verdict.reason:
            target.release(precision)
    return store.save_latency_model(calibration_id, model)


def scope_of(store: Measurements, calibration_id: str, largest_context: int = LARGEST_CONTEXT) -> Scope:
    """What a calibration that was profiled covers."""
    measured = {sample.point.precision for sample in store.latency_samples(calibration_id)}
    batches = {int(batch): rows for batch, rows in store.documents(calibration_id, BATCH_KIND).items()}
    return Scope(
        largest_context,
        tuple(precision for precision in QUANTISED if precision in measured),
        dict(sorted(batches.items())),
    )


def verdicts(store: Measurements, calibration_id: str) -> dict[Precision, PrecisionVerdict]:
    """What was found out about each quantised precision; {} for a calibration that never asked."""
    found = _verdicts(store, calibration_id, VERDICT_KIND)
    return {precision: found[precision] for precision in QUANTISED if precision in found}


def offered(store: Measurements, calibration_id: str) -> list[Quantization]:
    """What a search may choose from beside the target's own precision, with its cost in memory."""
    found = verdicts(store, calibration_id).values()
    return [
        Quantization(precision=verdict.precision, extra_bytes=verdict.extra_bytes)
        for verdict in found
        if verdict.reason is None
    ]


def worth_measuring(screened: dict[Precision, PrecisionVerdict]) -> list[Precision]:
    return [precision for precision, verdict in screened.items() if verdict.reason is None]


def _screened(store: Measurements, calibration_id: str, target: TargetModel) -> dict[Precision, PrecisionVerdict]:
    """The first verdict on every precision, kept: a resumed run measures the same points."""
    known = _verdicts(store, calibration_id, SCREEN_KIND)
    for precision in QUANTISED:
        if precision not in known:
            verdict = screen(target, precision, timer_for(target.device))
            kept = store.put_document(calibration_id, SCREEN_KIND, precision, verdict.model_dump(mode="json"))
            known[precision] = PrecisionVerdict.model_validate(kept)
    return {precision: known[precision] for precision in QUANTISED}


def _batch_rows(store: Measurements, calibration_id: str, target: TargetModel, largest_batch: int) -> dict[int, int]:
    """Cache rows a sequence of each batch may have, kept: a resumed run measures the same points."""
    rows = {}
    for batch in batches_up_to(largest_batch):
        rows[batch] = store.put_document(calibration_id, BATCH_KIND, str(batch), rows_that_fit(target, batch))
    return rows


def rows_that_fit(target: TargetModel, batch: int) -> int:
    """Cache rows that each sequence of a batch may have in the memory that is free."""
    free = free_bytes(target.device)
    if free is None:
        return target.max_context
    return min(target.max_context, int(BATCH_MEMORY_SHARE * free / (batch * target.cached_bytes)))


def _verdicts(store: Measurements, calibration_id: str, kind: str) -> dict[Precision, PrecisionVerdict]:
    documents = store.documents(calibration_id, kind)
    return {Precision(name): PrecisionVerdict.model_validate(document) for name, document in documents.items()}
