"""What was seen of a profile stands beside it in the store, and a store that cannot be written costs a line."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from casspec.server.watching.summary_store import SummaryStore
from casspec.storage import open_repository
from casspec.storage.watched import WatchSummary
from tests.casspec.server.serving import methods_of, serving, with_settings
from tests.storage import samples


def summary(profile_id: str, tokens: int = 5) -> WatchSummary:
    return WatchSummary(
        profile_id=profile_id, began_at="2026-03-01T10:00:00", ended_at="2026-03-01T11:00:00", tokens=tokens
    )


def stored_profile(storage: str) -> str:
    with open_repository(storage) as repository:
        calibration = repository.calibration(samples.model(), samples.device(), "float32", samples.SETTINGS)
        return repository.save_profile(calibration.calibration_id, samples.profile()).profile_id


def test_a_later_summary_takes_the_place_of_an_earlier_one_of_the_same_watch(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'store.db'}"
    profile_id, store = stored_profile(storage), SummaryStore(storage)
    store.keep({})
    store.keep({"a": summary(profile_id)})
    store.keep({"a": summary(profile_id, 9), "b": summary(profile_id, 2)})
    with open_repository(storage) as repository:
        assert sorted(one.tokens for one in repository.watched(profile_id)) == [2, 9]


def test_a_store_that_cannot_be_written_is_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    unknown = SummaryStore(f"sqlite:///{tmp_path / 'store.db'}")
    beyond = SummaryStore(f"sqlite:///{tmp_path / 'no' / 'file' / 'here.db'}/x")
    with caplog.at_level(logging.WARNING, logger="casspec"):
        for store in (unknown, beyond):
            for _ in range(3):
                store.keep({"a": summary("0123456789ab")})
    lines = [message for message in caplog.messages if message.startswith("what is seen of the profile is not stored")]
    assert len(lines) == 2
    assert not any("\n" in line for line in lines)


def test_a_server_hands_over_what_it_saw_when_it_ends() -> None:
    kept: dict[str, WatchSummary] = {}
    with serving(with_settings(), keep=kept.update) as served:
        served.client().completions.create(model="tiny", prompt=[5, 9, 300] * 5, max_tokens=20)
    (one,) = kept.values()
    profile = methods_of().decoder.profile
    assert profile is not None
    assert (one.profile_id, one.tokens) == (profile.profile_id, 20)
