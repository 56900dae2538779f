"""A finished calibration put straight into a store: recordings and a profile of a tiny model, nothing measured."""

from __future__ import annotations

from casspec.profiler.progress import silent
from casspec.runtime.latency.predictor import builtin_latency
from casspec.runtime.loading.device import device_fingerprint
from casspec.runtime.loading.fingerprint import model_fingerprint
from casspec.storage import open_repository
from casspec.storage.schema import RECYCLING_MATRIX, CascadeProfile, DrafterSpec, MethodSettings, SkipSet
from casspec.tuner.recordings.recording import recycling_matrix
from casspec.tuner.recordings.stage import record
from tests.storage import samples
from tests.tuner.small_calibration import SUITE, begun, small_target

DRAFTER = DrafterSpec(
    name="sparse", kind="self", skip=SkipSet(attention=(1, 3), mlp=(2,)), parameters={"acceptance": 0.6}
)


def stored_calibration(database: str) -> CascadeProfile:
    """The profile of a calibration with `SETTINGS`; prompt lookup and the cascade were tuned by replay."""
    target = small_target()
    with open_repository(database) as repository:
        context = begun(repository, database)
        calibration_id = context.calibration_id
        recordings = record(context, silent)
        latency = repository.save_latency_model(calibration_id, builtin_latency(target))
        matrix = repository.save_artifact(
            RECYCLING_MATRIX, recycling_matrix(recordings, target.vocab_size).to_bytes(), calibration_id
        )
        profile = samples.profile(
            model=model_fingerprint(target),
            device=device_fingerprint("cpu"),
            dtype="float32",
            drafters=(DRAFTER,),
            latency=latency,
            acceptance=(),
            methods=(
                MethodSettings(method="prompt-lookup", variant="tuned", parameters={"n_tokens": 4}),
                MethodSettings(method="dytc", variant="tuned", parameters={"max_nodes": 12}),
            ),
            artifacts=(matrix,),
            suite=SUITE.name,
        )
        repository.save_profile(calibration_id, profile)
        repository.finish(calibration_id)
        return profile
