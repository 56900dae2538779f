"""Stores as a team has them after a year: many finished jobs, many profiles of the size that calibrations make."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import insert

from casspec.storage.database.tables import (
    CalibrationRow,
    DeviceRow,
    JobRow,
    ModelRow,
    ProfileRow,
    ProfileSummaryRow,
    StageDocumentRow,
)
from casspec.storage.jobs.documents import JobProgress, JobRequest
from casspec.storage.repository import Repository
from casspec.storage.schema import AcceptanceCell, AcceptancePrior, CascadeProfile, DrafterSpec
from casspec.storage.summaries.aliases import ALIAS_KIND
from casspec.storage.summaries.documents import MeasuredSpeed, summary_of
from casspec.tuner.settings import CalibrationSettings
from tests.storage import samples

MODELS = (
    "Qwen3-0.6B", "Qwen3-1.7B", "Qwen3-4B", "Qwen3-8B", "Llama-3.2-1B", "Llama-3.2-3B", "Llama-3.1-8B", "SmolLM2-135M",
    "SmolLM2-360M", "SmolLM2-1.7B", "Mistral-7B", "gemma-3-4b", "Phi-4-mini",
)  # fmt: skip
DEVICES = ("NVIDIA H200", "NVIDIA L4", "NVIDIA A100 80GB", "Intel Xeon Platinum 8481C")
LAST_DAY = datetime(2026, 11, 1, tzinfo=UTC)
REAL_BYTES = 31_000


def moment(steps_ago: int) -> str:
    """UTC; a step is 47 minutes."""
    return (LAST_DAY - timedelta(minutes=47 * steps_ago)).isoformat(timespec="microseconds")


def digest(*words: object) -> str:
    return hashlib.sha256(repr(words).encode()).hexdigest()


def real_size_profile(**changes: Any) -> CascadeProfile:
    """As large as what a calibration makes."""
    cells = tuple(AcceptanceCell(key=f"m{n}d{n % 7}e", accepted=n * 0.7, trials=n + 0.3) for n in range(290))
    acceptance = tuple(AcceptancePrior(mode=mode, cells=cells) for mode in ("greedy", "sample"))
    drafters = tuple(DrafterSpec(name=f"sparse-{n}", kind="self", parameters={"n": n}) for n in range(3))
    return samples.profile(acceptance=acceptance, drafters=drafters, **changes)


def seed_profiles(repository: Repository, n: int) -> None:
    """Calibrations of every model on every device, over and over; every fifth is promoted."""
    profiles, summaries, calibrations, aliases = [], [], [], []
    models = [samples.model(name=name, weights_sha256=digest(name)) for name in MODELS]
    gpu: dict[str, Any] = {"kind": "cuda", "threads": 0, "capability": "9.0"}
    devices = [samples.device(name=name, **(gpu if "NVIDIA" in name else {"threads": 16})) for name in DEVICES]
    settings = json.dumps(CalibrationSettings(suite="chat", suite_sha256="a" * 64).model_dump(mode="json"))
    real = real_size_profile()
    document = real.canonical_json()
    shown = summary_of(real, "").model_dump(mode="json", exclude={"measured", "aliases"})
    for place in range(n):
        model, device = models[place % len(models)], devices[place // len(models) % len(devices)]
        profile_hash, saved_at = digest("profile", place), moment(n - place)
        names = {"profile_id": profile_hash[:12], "profile_hash": profile_hash}
        summary = shown | names | {"created_at": saved_at, "saved_at": saved_at}
        summary["model"] = {"name": model.name, "family": model.family, "identity": model.identity()}
        summary["device"] = device.model_dump(mode="json") | {"identity": device.identity()}
        speed = MeasuredSpeed(
            speedup=1 + place * 37 % 97 / 110, tokens_per_second=20.0 + place * 29 % 83, measured_at=saved_at
        )
        subject = {"model_hash": model.identity(), "device_hash": device.identity(), "dtype": "bfloat16"}
        summary["dtype"] = "bfloat16"
        profiles.append({"profile_hash": profile_hash, "saved_at": saved_at, "document": document, **subject})
        summaries.append(
            subject
            | {"profile_hash": profile_hash, "backend": "lean", "saved_at": saved_at, "document": json.dumps(summary)}
            | {"measured": json.dumps({"greedy": speed.model_dump(mode="json")})}
        )
        calibrations.append(
            subject
            | {"calibration_id": digest("calibration", place)[:16], "settings_hash": digest("settings", place)}
            | {"attempt": 1, "settings": settings, "started_at": saved_at, "finished_at": saved_at}
            | {"profile_hash": profile_hash}
        )
        if place % 5 == 0:
            alias = {"calibration_id": digest("calibration", place)[:16], "kind": ALIAS_KIND, "document": "{}"}
            aliases.append(alias | {"key": f"{saved_at} production"})
    with repository._database.writing() as session:
        for model in models:
            row = {"name": model.name, "family": model.family, "n_layers": model.n_layers, "document": "{}"}
            session.execute(insert(ModelRow), [row | {"model_hash": model.identity()}])
        for device in devices:
            row = {"device_hash": device.identity(), "kind": device.kind, "name": device.name, "document": "{}"}
            session.execute(insert(DeviceRow), [row])
        tables = (ProfileRow, ProfileSummaryRow, CalibrationRow, StageDocumentRow)
        for table, rows in zip(tables, (profiles, summaries, calibrations, aliases), strict=True):
            session.execute(insert(table), rows)


def seed_jobs(repository: Repository, n: int) -> None:
    """Jobs that have ended, most of them well."""
    rows = []
    for place in range(n):
        status = "failed" if place % 40 == 0 else "cancelled" if place % 55 == 0 else "done"
        device, submitted_at = DEVICES[place % len(DEVICES)], moment(n - place)
        request = JobRequest(model=MODELS[place % len(MODELS)], device=device, quick=place % 3 == 0, seed=place)
        progress = JobProgress(stage="bench", done=40, total=40, note="dytc on chat", estimate_s=1800.0)
        rows.append(
            {
                "job_id": digest("job", place)[:16],
                "device": device,
                "status": status,
                "submitted_at": submitted_at,
                "started_at": submitted_at,
                "ended_at": moment(n - place - 1),
                "request": request.canonical_json(),
                "progress": progress.canonical_json(),
                "cancel_asked": status == "cancelled",
                "attempts": 1,
                "worker": "gpu-host-3/4026531836:18273:0f3a9b21",
                "profile_hash": digest("profile", place) if status == "done" else None,
                "message": "the model does not fit: 17.2 GiB wanted, 15.8 GiB free" if status == "failed" else None,
            }
        )
    with repository._database.writing() as session:
        session.execute(insert(JobRow), rows)
