"""Aliases: the one that was given last counts, whatever the clock of the machine that gave it says."""

from __future__ import annotations

import pytest

from casspec.storage.repository import Repository
from tests.storage.test_repository import calibrated


def test_an_alias_given_by_a_machine_whose_clock_is_behind_counts(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = calibrated(repository, 1), calibrated(repository, 2)
    for profile, moment in ((first, "12:00:30"), (second, "11:59:00"), (first, "11:59:10")):
        monkeypatch.setattr("casspec.storage.summaries.aliases.now", lambda at=moment: f"2126-03-01T{at}.000000+00:00")
        repository.set_alias("production", profile.profile_id)
        assert repository.profile("production") == profile
