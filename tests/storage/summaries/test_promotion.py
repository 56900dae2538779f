from __future__ import annotations

import threading

import pytest

from casspec.storage.errors import AliasMoved, ProfileNotFound
from casspec.storage.repository import Repository
from casspec.storage.schema import CascadeProfile
from casspec.storage.summaries.promotion import promote
from tests.storage import samples


def calibrated(repository: Repository, seed: int) -> CascadeProfile:
    settings = samples.SETTINGS | {"seed": seed}
    calibration = repository.calibration(samples.model(), samples.device(), "float32", settings).calibration_id
    return repository.save_profile(calibration, samples.profile(seed=seed))


def holder(repository: Repository) -> str | None:
    return repository.alias_holders(samples.profile()).get("production")


def test_an_alias_goes_from_the_expected_profile_only(repository: Repository) -> None:
    first, second = calibrated(repository, 1), calibrated(repository, 2)
    with pytest.raises(AliasMoved, match="no profile has it now"):
        promote(repository, first.profile_id, "production", second.profile_id)
    assert promote(repository, first.profile_id, "production", None) == first
    with pytest.raises(AliasMoved, match=first.profile_id):
        promote(repository, second.profile_id, "production", None)
    assert holder(repository) == first.content_hash()
    promote(repository, second.profile_id, "production", first.profile_id)
    assert holder(repository) == second.content_hash()
    promote(repository, first.profile_id, "production")
    assert holder(repository) == first.content_hash()


def test_of_two_at_once_one_succeeds(repository: Repository) -> None:
    profiles = [calibrated(repository, seed) for seed in range(4)]
    together, refused = threading.Barrier(len(profiles)), []

    def hurry(profile: CascadeProfile) -> None:
        together.wait()
        try:
            promote(repository, profile.profile_id, "production", None)
        except AliasMoved as error:
            refused.append(error)

    threads = [threading.Thread(target=hurry, args=(profile,)) for profile in profiles]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == len(profiles) - 1


def test_imported_profiles_have_no_alias(repository: Repository) -> None:
    imported = repository.save_profile(None, samples.profile())
    with pytest.raises(ProfileNotFound, match="imported"):
        promote(repository, imported.profile_id, "production")
