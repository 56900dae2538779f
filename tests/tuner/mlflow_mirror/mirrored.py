"""Calibrations to mirror, and what MLflow shows of them."""

from __future__ import annotations

import hashlib
from typing import Any

from casspec.storage.schema import Artifact, CascadeProfile, DrafterCandidate, Precision, Quantization
from casspec.tuner.calibration_history import CalibrationHistory
from casspec.tuner.mlflow_mirror.mirror import CALIBRATION_TAG, PARENT_TAG, PART_TAG, MLflowMirror
from casspec.tuner.mlflow_mirror.registry import PROFILE_TAG, registered_name
from tests.profiler.fakes import SHAPE
from tests.storage import samples

MATRIX = b"matrix"


def candidates(n: int) -> list[DrafterCandidate]:
    """Every second one is the skip set of the one before, in 8 bits."""
    precisions = (Precision.INT8_DYNAMIC, Precision.TARGET)
    return [
        samples.candidate(
            ((i + 1) // 2,),
            acceptance=0.5 + i / 20,
            source="sensitivity",
            quantization=Quantization(precision=precisions[i % 2]),
        )
        for i in range(1, n + 1)
    ]


def profile(**changes: Any) -> CascadeProfile:
    latency = samples.latency_model().model_copy(
        update={"features": ("constant",), "coefficients": (1.0,), "shape": SHAPE}
    )
    matrix = Artifact(name="recycling-matrix", sha256=hashlib.sha256(MATRIX).hexdigest(), n_bytes=len(MATRIX))
    return samples.profile(**{"latency": latency, "artifacts": (matrix,)} | changes)


def history(calibration_id: str, n: int = 2, aliases: tuple[str, ...] = (), **changes: Any) -> CalibrationHistory:
    """`aliases`: those of this profile."""
    told = profile(**changes)
    return CalibrationHistory(
        profile=told,
        calibration_id=calibration_id,
        settings={"suite": "x" * 9000, "seed": 0},
        candidates=candidates(n),
        samples=[samples.sample(n_tokens) for n_tokens in (1, 2, 4)],
        files={"recycling-matrix": MATRIX},
        aliases=dict.fromkeys(aliases, told.content_hash()),
    )


def parent_of(mlflow_mirror: MLflowMirror, calibration_id: str) -> Any:
    (parent,) = mlflow_mirror._search(f"tags.`{CALIBRATION_TAG}` = '{calibration_id}'")
    assert parent.info.status == "FINISHED"
    return parent


def children(mlflow_mirror: MLflowMirror, calibration_id: str) -> dict[str, Any]:
    runs = mlflow_mirror._search(f"tags.`{PARENT_TAG}` = '{parent_of(mlflow_mirror, calibration_id).info.run_id}'")
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert len({run.data.tags[PART_TAG] for run in runs}) == len(runs)
    return {run.data.tags[PART_TAG]: run for run in runs}


def files(mlflow_mirror: MLflowMirror, run: Any) -> set[str]:
    return {file.path for file in mlflow_mirror._client.list_artifacts(run.info.run_id)}


def versions(mlflow_mirror: MLflowMirror, told: CascadeProfile) -> list[Any]:
    return list(mlflow_mirror._client.search_model_versions(f"tags.`{PROFILE_TAG}` = '{told.content_hash()}'"))


def aliases(mlflow_mirror: MLflowMirror, told: CascadeProfile) -> dict[str, str]:
    """Profile ID by alias of the registered model."""
    model = mlflow_mirror._client.get_registered_model(registered_name(told))
    of_version = {
        str(one.version): one.tags["profile_id"]
        for one in mlflow_mirror._client.search_model_versions(f"name = '{model.name}'")
    }
    return {alias: of_version[str(version)] for alias, version in model.aliases.items()}
