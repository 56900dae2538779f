"""From drift to a promotion, step by step, and everything that ends it before."""

from __future__ import annotations

from casspec.storage.jobs.documents import Job, JobRequest
from casspec.storage.reports.documents import Recalibration
from casspec.storage.repository import Repository
from tests.casspec.hub.reports.drifting import MODEL, SETTINGS, Fleet, calibrated, finding, made_by_a_job, worked
from tests.storage import samples


def outcome(fleet: Fleet) -> tuple[str, str]:
    """State and last line of what the next look finds."""
    one = fleet.tick()
    assert one is not None
    return one.state, one.decisions[-1].says


def production(fleet: Fleet) -> str:
    return fleet.repository.alias_holders(fleet.profile)["production"]


def test_the_job_is_that_of_the_profile_on_recorded_requests(fleet: Fleet, repository: Repository) -> None:
    made_by_a_job(repository, fleet.profile, quick=True, trials=7, suite="chat", force=True)
    one = fleet.queued()
    job = repository.jobs.get(one.recalibration_id)
    assert job.request == job.request.model_copy(
        update={
            "model": MODEL,
            "quick": True,
            "trials": 7,
            "suite": None,
            "suite_sha256": one.suite_sha256,
            "force": False,
            "against": fleet.profile.content_hash(),
            "dtype": "float32",
        }
    )


def test_a_faster_profile_is_promoted(fleet: Fleet, repository: Repository) -> None:
    made_by_a_job(repository, fleet.profile)
    one = fleet.queued()
    assert fleet.tick() == one, "its job has not ended"
    job = worked(repository, finding(1.25))
    state, says = outcome(fleet)
    assert state == "promoted"
    assert (
        says
        == f"profile {str(job.profile_hash)[:12]} is 1.25 times as fast (greedy 1.25; noise 1.0%) and 'production' from now on"
    )
    assert production(fleet) == job.profile_hash
    (one,) = repository.recalibrations.listed()
    assert (one.new_profile_hash, one.speed) == (job.profile_hash, 1.25)
    assert fleet.tick() == one


def test_a_slower_one_and_one_as_fast_are_not(fleet: Fleet, repository: Repository) -> None:
    made_by_a_job(repository, fleet.profile)
    for speed in (0.9, 1.0):
        fleet.clock.seconds += 2000.0
        fleet.queued()
        worked(repository, finding(speed))
        assert outcome(fleet)[0] == "kept"
        assert production(fleet) == fleet.profile.content_hash()


def test_a_hub_that_was_killed_between_a_step_and_its_note_takes_it_again(
    fleet: Fleet, repository: Repository, monkeypatch
) -> None:
    made_by_a_job(repository, fleet.profile)
    fleet.tell()
    fleet.tell()
    fleet.tick()
    fleet.tell(traffic=True)
    for before in ("wanted", "queued"):
        with monkeypatch.context() as killed:
            killed.setattr(type(repository.recalibrations), "change", lambda *_: False)
            one = fleet.tick()
            assert one is not None
            assert one.state == before
        fleet.restart()
        assert outcome(fleet)[0] == ("queued" if before == "wanted" else "promoted")
        if before == "wanted":
            assert len(repository.jobs.listed("queued")) == 1
            worked(repository, finding(1.25))
    assert production(fleet) != fleet.profile.content_hash()


def test_without_recorded_requests_it_is_given_up(fleet: Fleet) -> None:
    fleet.tell(traffic=True)
    fleet.tell()
    one = fleet.tick()
    assert one is not None
    assert fleet.tick() == one, "what was sent before it began is of another time"
    fleet.clock.seconds += 90_000.0
    assert outcome(fleet) == (
        "failed",
        "no server sent recorded requests: start one with --record-traffic FILE --share-traffic",
    )


def test_a_model_that_is_not_allowed_is_not_calibrated(fleet: Fleet) -> None:
    fleet.tell()
    fleet.tell()
    fleet.tick()
    fleet.tell(traffic=True)
    state, says = outcome(fleet)
    assert (state, says.partition(":")[0]) == ("failed", f"model '{fleet.profile.model.name}' is not allowed here")


def test_a_job_that_ends_otherwise_ends_it(fleet: Fleet, repository: Repository) -> None:
    made_by_a_job(repository, fleet.profile)
    repository.jobs.ask_to_cancel(fleet.queued().recalibration_id)
    assert outcome(fleet) == ("failed", "its job is cancelled")


def test_what_somebody_promoted_meanwhile_stays(fleet: Fleet, repository: Repository) -> None:
    made_by_a_job(repository, fleet.profile)
    fleet.queued()
    other = calibrated(repository, "production", seed=5)
    worked(repository, finding(1.25))
    state, says = outcome(fleet)
    assert (state, "somebody made another profile 'production'" in says) == ("kept", True)
    assert production(fleet) == other.content_hash()


def test_a_profile_of_another_device_is_for_hands_to_promote(fleet: Fleet, repository: Repository) -> None:
    made_by_a_job(repository, fleet.profile)
    fleet.queued()
    worked(repository, finding(1.25, device=samples.device(threads=64)))
    state, says = outcome(fleet)
    assert (state, "promote it there by hand" in says) == ("kept", True)


def test_one_that_was_not_raced_and_the_same_one_are_not_promoted(fleet: Fleet, repository: Repository) -> None:
    made_by_a_job(repository, fleet.profile)
    fleet.queued()
    worked(repository, lambda repository, *_: calibrated(repository, seed=78).content_hash())
    assert outcome(fleet)[1].endswith("no prompt leaves room for the benchmark")
    fleet.clock.seconds += 2000.0
    fleet.queued()
    worked(repository, lambda *_: fleet.profile.content_hash())
    assert outcome(fleet) == ("kept", "the calibration found the same profile")


def test_a_profile_that_is_deleted_ends_it(fleet: Fleet, repository: Repository) -> None:
    made_by_a_job(repository, fleet.profile)
    one: Recalibration = fleet.queued()
    job: Job = worked(repository, finding(1.25))
    repository.delete_profile(str(job.profile_hash))
    after = fleet.tick()
    assert after is not None
    assert (after.recalibration_id, after.state) == (one.recalibration_id, "failed")
    assert "no profile" in after.decisions[-1].says


def test_a_job_that_somebody_else_put_in_its_place_promotes_nothing(fleet: Fleet, repository: Repository) -> None:
    made_by_a_job(repository, fleet.profile)
    for _ in range(SETTINGS.least_reports):
        fleet.tell()
    one = fleet.tick()
    assert one is not None
    repository.jobs.submit(JobRequest(model=MODEL, device="cpu", trials=1), one.recalibration_id)
    fleet.tell(traffic=True)
    state, says = outcome(fleet)
    assert (state, "somebody else's" in says) == ("failed", True)
    assert production(fleet) == fleet.profile.content_hash()
