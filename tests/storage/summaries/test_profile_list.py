from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from casspec.storage import open_repository
from casspec.storage.errors import ProfileNotFound
from casspec.storage.repository import Repository
from casspec.storage.schema import CascadeProfile
from casspec.storage.summaries.documents import summary_of
from tests.storage import samples
from tests.storage.database.upgrade_asset import ASSETS

OTHER = samples.model(name="other", weights_sha256="x" * 64)


def saved(repository: Repository, seed: int, **changes: object) -> CascadeProfile:
    return repository.save_profile(None, samples.profile(seed=seed, **changes))


def test_a_list_pages_from_the_latest_to_the_first(repository: Repository) -> None:
    ids = [saved(repository, seed).profile_id for seed in range(5)][::-1]
    pages, before = [], None
    while found := repository.summaries.listed(limit=2, before=before):
        pages.append([one.profile_id for one in found])
        before = found[-1].profile_id
    assert pages == [ids[:2], ids[2:4], ids[4:]]
    with pytest.raises(ProfileNotFound):
        repository.summaries.listed(before="f" * 64)


def test_profiles_are_found_by_model_device_dtype_and_alias(repository: Repository) -> None:
    first, second = saved(repository, 1), saved(repository, 2, model=OTHER, dtype="bfloat16")
    listed = repository.summaries.listed
    assert [one.profile_id for one in listed(model=OTHER.identity())] == [second.profile_id]
    assert [one.profile_id for one in listed(device=first.device.identity())] == [second.profile_id, first.profile_id]
    assert [one.profile_id for one in listed(dtype="float32")] == [first.profile_id]
    assert [one.profile_id for one in listed(only=[first.content_hash()])] == [first.profile_id]
    assert listed(only=[]) == []
    assert listed(aliases={first.content_hash(): ["production"]})[1].aliases == ("production",)


def test_what_is_measured_comes_with_the_benchmark(repository: Repository) -> None:
    profile = saved(repository, 1)
    assert repository.summaries.one(profile.content_hash()).measured == {}
    repository.save_bench(profile.profile_id, samples.bench_report())
    newer = samples.bench_report(rows=(samples.bench_row(speedup=1.8),), created_at="2026-04-01")
    repository.save_bench(profile.profile_id, newer)
    repository.save_bench(profile.profile_id, samples.bench_report())
    (speed,) = repository.summaries.one(profile.content_hash()).measured.values()
    assert (speed.speedup, speed.measured_at) == (1.8, "2026-04-01")


def test_saving_a_profile_again_keeps_what_was_measured(repository: Repository) -> None:
    profile = saved(repository, 1)
    repository.save_bench(profile.profile_id, samples.bench_report())
    before = repository.summaries.listed()
    saved(repository, 1)
    assert repository.summaries.listed() == before


def test_a_deleted_profile_is_not_listed(repository: Repository) -> None:
    profile = saved(repository, 1)
    repository.delete_profile(profile.profile_id)
    assert (repository.summaries.listed(), repository.summaries.count()) == ([], 0)
    with pytest.raises(ProfileNotFound):
        repository.summaries.one(profile.content_hash())


def test_a_matrix_shows_the_promoted_profile_else_the_latest(repository: Repository) -> None:
    first, _, latest = (saved(repository, seed) for seed in range(3))
    other = saved(repository, 4, model=OTHER)
    aliases = {first.content_hash(): ["production"], latest.content_hash(): ["candidate"]}
    cells = repository.summaries.matrix("production", aliases)
    assert [(cell.profile.profile_id, cell.latest_id, cell.n_profiles) for cell in cells] == [
        (other.profile_id, other.profile_id, 1),
        (first.profile_id, latest.profile_id, 3),
    ]
    assert cells[1].profile.aliases == ("production",)
    assert [cell.profile.profile_id for cell in repository.summaries.matrix()] == [other.profile_id, latest.profile_id]
    assert len(repository.summaries.matrix(limit=1)) == 1


def test_profiles_of_earlier_releases_are_listed_as_if_saved_now(tmp_path: Path) -> None:
    file = tmp_path / "casspec.db"
    shutil.copy(ASSETS / "storage_0.3.0.db", file)
    with open_repository(str(file)) as repository:
        (found,) = repository.summaries.listed()
        profile = repository.profile("latest")
        assert found.model_copy(update={"measured": {}}) == summary_of(profile, found.saved_at)
        assert found.measured["greedy"].speedup == 1.6
        (cell,) = repository.summaries.matrix()
        assert (cell.profile, cell.n_profiles) == (found, 1)
