from __future__ import annotations

import logging

import pytest

from casspec.hub.working.lines import Lines
from casspec.storage.errors import StorageError
from casspec.storage.jobs.documents import JobRequest
from casspec.storage.jobs.log import MOST_LINES
from casspec.storage.jobs.queue import Claim, JobQueue, Place
from casspec.storage.repository import Repository


@pytest.fixture
def claim(repository: Repository) -> Claim:
    repository.jobs.submit(JobRequest(model="reference", device="cpu"))
    claim = repository.jobs.claim("one", Place("cpu", "here"))
    assert claim is not None
    return claim


def texts(repository: Repository, claim: Claim) -> list[str]:
    return [line.text for line in repository.jobs.log(claim.job.job_id).lines]


def test_lines_wait_until_they_are_written(repository: Repository, claim: Claim) -> None:
    lines = Lines(repository.jobs, claim)
    lines.add("one")
    assert texts(repository, claim) == []
    lines.end("two")
    assert texts(repository, claim) == ["one", "two"]


def test_warnings_of_casspec_are_lines_and_those_of_others_are_not(repository: Repository, claim: Claim) -> None:
    lines = Lines(repository.jobs, claim)
    with lines.heard():
        logging.getLogger("casspec.tuner").warning("slow by %d %%", 30)
        logging.getLogger("casspec").info("detail")
        logging.getLogger("other").warning("nothing of ours")
    logging.getLogger("casspec").warning("afterwards")
    lines.flush()
    assert texts(repository, claim) == ["warning: slow by 30 %"]


def test_lines_outlast_a_store_that_is_away_and_stay_few(
    repository: Repository, claim: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = Lines(repository.jobs, claim)

    def away(*arguments: object) -> None:
        raise StorageError("away")

    with monkeypatch.context() as patch:
        patch.setattr(JobQueue, "say", away)
        for number in range(2 * MOST_LINES):
            lines.add(str(number))
            lines.flush()
    lines.flush()
    assert texts(repository, claim) == [str(number) for number in range(MOST_LINES, 2 * MOST_LINES)]


def test_whoever_lost_the_job_adds_nothing_to_its_log(repository: Repository, claim: Claim) -> None:
    lines = Lines(repository.jobs, claim)
    assert repository.jobs.claim("heir", Place("cpu", "there"), expiry_s=-1.0) is not None
    lines.end("late")
    assert texts(repository, claim) == []
