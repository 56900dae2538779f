"""Profiles of a hub: the one that fits, kept whole for when the hub is away."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import casspec
from casspec.cli.decoder import profile_with_task
from casspec.hub.client import HubClient
from casspec.hub.fetched import HubWatch, alias_of
from casspec.profile_lookup import profile_for
from casspec.runtime.model.target import TargetModel
from casspec.storage.errors import HubError, HubUnreachable, ProfileMismatch, ProfileNotFound, UnsupportedOption
from casspec.storage.repository import Repository
from casspec.storage.schema import CascadeProfile
from tests.casspec.hub.hubs import serving
from tests.runtime.tiny import tiny_profile, tiny_target


@pytest.fixture
def target() -> TargetModel:
    return tiny_target(seed=7)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "casspec" / "hub"


@pytest.fixture
def hub(repository: Repository) -> Iterator[str]:
    with serving(repository) as url:
        yield url.replace("http://", "hub://")


def saved(repository: Repository, target: TargetModel, alias: str | None = None, **changes: Any) -> CascadeProfile:
    """A finished calibration of the target, with its matrix."""
    document = tiny_profile(target).document
    assert document is not None
    matrix = repository.save_artifact("recycling-matrix", b"matrix")
    document = document.model_copy(update={"artifacts": (matrix,), **changes})
    settings = {"seed": document.seed, "device": document.device.name}
    made = repository.calibration(document.model, document.device, document.dtype, settings).calibration_id
    profile = repository.save_profile(made, document)
    repository.finish(made)
    if alias is not None:
        repository.set_alias(alias, profile.profile_id)
    return profile


def test_the_latest_that_fits_comes_with_its_matrix(hub: str, repository: Repository, target: TargetModel) -> None:
    device = saved(repository, target).device
    profile = saved(repository, target, seed=1)
    saved(repository, target, seed=2, device=device.model_copy(update={"threads": device.threads + 64}))
    saved(repository, tiny_target(seed=8))
    loaded = casspec.load_profile(hub, target=target)
    assert loaded.document == profile
    assert loaded.recycling_matrix == b"matrix"
    assert profile_for(target, hub) == loaded
    assert profile_with_task(target, hub, None, None) == loaded


def test_one_of_a_device_with_the_same_kernels_will_do(hub: str, repository: Repository, target: TargetModel) -> None:
    profile = saved(repository, target)
    device = profile.device.model_copy(update={"threads": profile.device.threads + 64})
    repository.delete_profile(profile.profile_id)
    other = saved(repository, target, device=device)
    assert casspec.load_profile(hub, target=target).document == other


def test_an_alias_or_an_id_may_be_named(hub: str, repository: Repository, target: TargetModel) -> None:
    first, latest = saved(repository, target, "production"), saved(repository, target, seed=1)
    assert casspec.load_profile(hub, target=target).document == latest
    assert casspec.load_profile(f"{hub}/production", target=target).document == first
    assert casspec.load_profile(f"{hub}/{first.profile_id}", target=target).document == first
    with pytest.raises(ProfileNotFound, match="that is 'staging'"):
        casspec.load_profile(f"{hub}/staging", target=target)
    with pytest.raises(ProfileMismatch):
        casspec.load_profile(f"{hub}/{first.profile_id}", target=tiny_target(seed=8))


def test_what_a_hub_has_now_is_told_without_fetching_it(
    hub: str, repository: Repository, target: TargetModel, cache: Path
) -> None:
    first = saved(repository, target, "production")
    latest, production = HubWatch(hub, target), HubWatch(f"{hub}/production", target)
    assert latest.newest() == production.newest() == first.content_hash()
    second = saved(repository, target, seed=1)
    assert (latest.newest(), production.newest()) == (second.content_hash(), first.content_hash())
    repository.set_alias("production", second.profile_id)
    assert production.newest() == second.content_hash()
    assert HubWatch(f"{hub}/{first.profile_id}", target).newest() == first.content_hash()
    assert not cache.exists()


def test_the_alias_that_a_url_names() -> None:
    assert alias_of("hub://host:1/production") == "production"
    assert alias_of("hub://host:1/") is None
    assert alias_of("hub://host:1/0123456789ab") is None


def test_without_a_model_nothing_is_found(hub: str) -> None:
    with pytest.raises(UnsupportedOption, match="target="):
        casspec.load_profile(hub)


def test_none_that_fits_is_told(hub: str, repository: Repository, target: TargetModel) -> None:
    saved(repository, tiny_target(seed=8))
    with pytest.raises(ProfileNotFound, match="casspec job submit"):
        casspec.load_profile(hub, target=target)


def test_what_was_fetched_serves_while_the_hub_is_away(
    repository: Repository, target: TargetModel, caplog: pytest.LogCaptureFixture
) -> None:
    saved(repository, target)
    with serving(repository) as url:
        hub = url.replace("http://", "hub://")
        loaded = casspec.load_profile(hub, target=target)
    with caplog.at_level(logging.WARNING, "casspec"):
        assert casspec.load_profile(hub, target=target) == loaded
    assert "going on with profile" in caplog.text
    for other, url in ((tiny_target(seed=8), hub), (target, f"{hub}/production")):
        with pytest.raises(HubUnreachable):
            casspec.load_profile(url, target=other)


@pytest.mark.parametrize("damaged", ["*.json", "*.bin", "*.answer"])
def test_what_was_kept_and_is_damaged_is_not_taken(
    repository: Repository, target: TargetModel, cache: Path, damaged: str
) -> None:
    saved(repository, target)
    with serving(repository) as url:
        hub = url.replace("http://", "hub://")
        loaded = casspec.load_profile(hub, target=target)
        (file,) = cache.rglob(damaged)
        file.write_bytes(file.read_bytes().replace(b"m", b"n")[:-1])
        if damaged == "*.bin":
            assert casspec.load_profile(hub, target=target) == loaded  # fetched again
            file.write_bytes(b"other")
    if damaged == "*.bin":
        assert casspec.load_profile(hub, target=target).recycling_matrix is None
    else:
        with pytest.raises(HubUnreachable):
            casspec.load_profile(hub, target=target)


@pytest.mark.parametrize("method", ["profile", "artifact"])
def test_what_is_not_what_its_hash_says_is_refused(
    hub: str, repository: Repository, target: TargetModel, cache: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    other = saved(repository, target)
    saved(repository, target, seed=1)
    answers = {"profile": lambda self, selection: other, "artifact": lambda self, profile_id, name: b"other"}
    monkeypatch.setattr(HubClient, method, answers[method])
    with pytest.raises(HubError, match="ask"):
        casspec.load_profile(hub, target=target)
    assert list(cache.rglob("*.answer")) == []
