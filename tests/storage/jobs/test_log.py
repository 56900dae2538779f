from __future__ import annotations

import pytest

from casspec.storage.errors import JobNotFound, LeaseLost
from casspec.storage.jobs.documents import JobRequest
from casspec.storage.jobs.log import LONGEST_LINE, MOST_BYTES, MOST_LINES, plain
from casspec.storage.jobs.queue import Claim, JobQueue, Place
from casspec.storage.repository import Repository


@pytest.fixture
def queue(repository: Repository) -> JobQueue:
    return repository.jobs


@pytest.fixture
def claim(queue: JobQueue) -> Claim:
    queue.submit(JobRequest(model="tiny", device="cpu"))
    claim = queue.claim("one", Place("cpu", "here"))
    assert claim is not None
    return claim


def test_lines_are_numbered_over_all_attempts_and_read_from_a_number_on(queue: JobQueue, claim: Claim) -> None:
    job_id = claim.job.job_id
    assert queue.log(job_id).lines == ()
    queue.say(claim, ["one", "two"])
    queue.hand_back(claim)
    heir = queue.claim("heir", Place("cpu", "there"))
    assert heir is not None
    queue.say(heir, ["three"])
    assert [(line.number, line.text) for line in queue.log(job_id).lines] == [(1, "one"), (2, "two"), (3, "three")]
    assert [line.text for line in queue.log(job_id, after=2).lines] == ["three"]


def test_a_log_keeps_the_latest_lines(queue: JobQueue, claim: Claim) -> None:
    for begin in range(0, MOST_LINES + 200, 100):
        queue.say(claim, [f"line {begin + n}" for n in range(100)])
    lines = queue.log(claim.job.job_id).lines
    assert (len(lines), lines[-1].text, lines[-1].number) == (MOST_LINES, f"line {MOST_LINES + 199}", MOST_LINES + 200)


def test_a_log_stays_small_whatever_is_said(queue: JobQueue, claim: Claim) -> None:
    queue.say(claim, ["ü" * 10 * LONGEST_LINE] * 100)
    lines = queue.log(claim.job.job_id).lines
    assert 0 < sum(len(line.text.encode()) for line in lines) <= MOST_BYTES
    assert {len(line.text) for line in lines} == {LONGEST_LINE}


def test_nobody_but_the_holder_adds_to_a_log(queue: JobQueue, claim: Claim) -> None:
    assert queue.claim("heir", Place("cpu", "there"), expiry_s=-1.0) is not None
    with pytest.raises(LeaseLost):
        queue.say(claim, ["late"])
    assert queue.log(claim.job.job_id).lines == ()


def test_a_job_that_is_not_there_has_no_log(queue: JobQueue) -> None:
    with pytest.raises(JobNotFound):
        queue.log("0" * 16)


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("a\nb\t c\x1b[31m", "a b c [31m"),
        (
            "the database postgresql+psycopg://me:s3cret@db/x is away",
            "the database postgresql+psycopg://me:***@db/x is away",
        ),
        ("https://:k3y@host/path and http://host:80/a@b", "https://:***@host/path and http://host:80/a@b"),
    ],
)
def test_a_line_is_one_line_without_passwords(said: str, line: str) -> None:
    assert plain(said) == line
