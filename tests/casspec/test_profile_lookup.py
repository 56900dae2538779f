"""Profiles named by an alias: the promoted one of the model at hand, whatever is promoted for other models."""

from __future__ import annotations

from pathlib import Path

import pytest

import casspec
from casspec.profile_lookup import profile_for
from casspec.runtime.model.target import TargetModel
from casspec.storage import open_repository
from casspec.storage.errors import ProfileNotFound
from casspec.storage.schema import CascadeProfile
from tests.runtime.tiny import tiny_profile, tiny_target


@pytest.fixture
def storage(tmp_path: Path) -> str:
    return str(tmp_path / "store.db")


def promoted(storage: str, target: TargetModel, seed: int = 0) -> CascadeProfile:
    """A finished calibration of the target whose profile is in production."""
    document = tiny_profile(target).document
    assert document is not None
    with open_repository(storage) as repository:
        settings = {"seed": seed}
        key = repository.calibration(document.model, document.device, document.dtype, settings).calibration_id
        profile = repository.save_profile(key, document.model_copy(update={"seed": seed, "artifacts": ()}))
        repository.finish(key)
        repository.set_alias("production", profile.profile_id)
    return profile


def test_production_is_the_promoted_profile_of_this_model(storage: str) -> None:
    one, other, third = (tiny_target(seed=seed) for seed in (1, 2, 3))
    first = promoted(storage, one)
    assert casspec.load_profile("production", storage).document == first
    second = promoted(storage, other)
    newer = promoted(storage, other, seed=5)
    assert profile_for(one, "production", storage).document == first
    assert profile_for(other, "production", storage).document == newer
    assert profile_for(other, second.profile_id, storage).document == second
    with pytest.raises(ProfileNotFound, match="promote"):
        profile_for(third, "production", storage)
    with pytest.raises(ProfileNotFound, match="give the ID of one"):
        casspec.load_profile("production", storage)


def test_in_another_dtype_the_promoted_profile_is_found_where_any_will_do(storage: str) -> None:
    target = tiny_target(seed=1)
    document = tiny_profile(target).document
    assert document is not None
    moved = document.model_copy(update={"dtype": "bfloat16", "artifacts": ()})
    with open_repository(storage) as repository:
        key = repository.calibration(moved.model, moved.device, moved.dtype, {}).calibration_id
        repository.save_profile(key, moved)
        repository.finish(key)
        repository.set_alias("production", moved.profile_id)
    with pytest.raises(ProfileNotFound):
        profile_for(target, "production", storage)
    assert profile_for(target, "production", storage, any_dtype=True).document == moved


def test_nobody_in_production_is_said(storage: str) -> None:
    with pytest.raises(ProfileNotFound, match="no profile 'production'"):
        profile_for(tiny_target(seed=1), "production", storage)
