"""Writes the database that a release leaves behind, kept in tests/assets so that later releases prove they can upgrade
it.

Run once a release: python -m tests.storage.database.upgrade_asset
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from casspec.storage import open_repository
from casspec.storage.database.migrations import newest_revision
from casspec.storage.engines.documents import EngineTrial
from casspec.storage.jobs.documents import JobRequest
from casspec.storage.jobs.queue import Place
from casspec.storage.reports.documents import ReceivedReport
from casspec.storage.schema import SkipSet
from casspec.storage.watched import WatchSummary
from tests.storage import samples
from tests.storage.engines.test_documents import NGRAM, measurement, result, subject

ASSETS = Path(__file__).parents[2] / "assets"


def write(file: Path) -> None:
    """One row and more in every table."""
    device = samples.device(ceilings=samples.ceilings())
    with open_repository(str(file)) as repository:
        calibration = repository.calibration(samples.model(), device, "float32", samples.SETTINGS).calibration_id
        repository.save_latency_sample(calibration, samples.sample())
        repository.save_latency_model(calibration, samples.latency_model())
        repository.save_candidate(calibration, samples.candidate())
        repository.put_document(calibration, "stage", "done", {"rows": 1})
        repository.leases.acquire("trial", f"{calibration}/plan", "machine:1:worker", expiry_s=15)
        matrix = repository.save_artifact("recycling-matrix", b"matrix", calibration)
        profile = repository.save_profile(calibration, samples.profile(artifacts=(matrix,)))
        repository.save_bench(profile.profile_id, samples.bench_report())
        repository.finish(calibration)
        repository.jobs.submit(JobRequest(model="tiny", device="cpu"), "0123456789abcdef")
        repository.tokens.create("pipeline", "submit", days=90)
        claim = repository.jobs.claim("machine:1:worker", Place("cpu", "machine/cpu"))
        assert claim is not None
        repository.jobs.say(claim, ["attempt 1"])
        seen = WatchSummary(profile_id=profile.profile_id, began_at="2026-03-01", ended_at="2026-03-02")
        received = {"profile_hash": profile.content_hash(), "received_at": "2026-03-02"}
        repository.reports.add(ReceivedReport(server="here:8000", summary=seen, **received))
        repository.recalibrations.begin(profile, "production", "2026-03-02", "drift")
        repository.save_starting_plan("swift", SkipSet(attention=(1,)), 8)
        search = repository.engines.begin(subject())
        repository.engines.save(search, "plain", "1", measurement())
        repository.engines.save_trials(search, [EngineTrial(setting=NGRAM, concurrency=1, status="predicted")])
        repository.engines.save_result(result())


def shrink(file: Path) -> None:
    """Small pages and one file, for a small asset."""
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.execute("PRAGMA page_size = 512")
    connection.execute("VACUUM")
    connection.close()


if __name__ == "__main__":
    asset = ASSETS / f"storage_{newest_revision()}.db"
    ASSETS.mkdir(exist_ok=True)
    asset.unlink(missing_ok=True)
    write(asset)
    shrink(asset)
    print(asset)
