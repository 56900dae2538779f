"""What a store holds: calibrations, profiles, aliases, artifacts, also under many processes."""

from __future__ import annotations

import itertools
import multiprocessing
from multiprocessing.connection import Connection

import pytest

from casspec.storage import open_repository
from casspec.storage.errors import CalibrationNotFound, ProfileNotFound, StorageError, UnsupportedOption
from casspec.storage.repository import Repository, StartingPlan
from casspec.storage.schema import Artifact, Backend, DrafterCandidate, SkipSet
from casspec.storage.watched import WatchSummary
from tests.storage import samples


def start(repository: Repository, **options) -> str:
    calibration = repository.calibration(
        samples.model(), samples.device(ceilings=samples.ceilings()), "float32", samples.SETTINGS, **options
    )
    return calibration.calibration_id


def finished(repository: Repository):
    found = repository.finished_calibration(samples.model(), samples.device(), "float32", samples.SETTINGS)
    return found and found[1]


def test_answers_from_the_store_only_when_finished(repository: Repository) -> None:
    calibration_id = start(repository)
    assert finished(repository) is None
    profile = repository.save_profile(calibration_id, samples.profile())
    assert finished(repository) is None
    repository.finish(calibration_id)
    assert finished(repository) == profile
    again = repository.calibration(samples.model(), samples.device(), "float32", samples.SETTINGS)
    assert (again.calibration_id, again.status) == (calibration_id, "finished")


def test_finishing_needs_a_profile(repository: Repository) -> None:
    with pytest.raises(StorageError, match="no profile yet"):
        repository.finish(start(repository))


def test_forced_repetition_starts_empty_and_keeps_the_earlier_one(repository: Repository) -> None:
    first = start(repository)
    repository.save_latency_sample(first, samples.sample())
    repository.save_profile(first, samples.profile())
    repository.finish(first)

    second = start(repository, force=True)
    assert second != first
    assert repository.latency_samples(second) == []
    assert len(repository.latency_samples(first)) == 1
    assert finished(repository) is None, "the forced attempt is being measured"
    assert start(repository) == second, "an interrupted forced attempt goes on"

    newer = repository.save_profile(second, samples.profile(seed=1))
    repository.finish(second)
    assert finished(repository) == newer
    assert len(repository.profiles()) == 2


def test_a_profile_is_found_by_id_prefix_and_as_latest(repository: Repository) -> None:
    older, newer = samples.profile(), samples.profile(seed=1)
    for profile in (older, newer):
        repository.save_profile(None, profile)
    assert repository.profile(older.profile_id) == older
    assert repository.profile(older.content_hash()) == older
    assert repository.profile(older.profile_id[:6].upper()) == older
    assert repository.profile("latest") == newer
    assert repository.profiles() == [newer, older]


@pytest.mark.parametrize("selection", ["", "nothex", "%", "_", "0" * 64, "x'; --"])
def test_unknown_ids_are_named(repository: Repository, selection: str) -> None:
    repository.save_profile(None, samples.profile())
    with pytest.raises(ProfileNotFound, match="casspec profiles list"):
        repository.profile(selection)


def test_latest_of_an_empty_store_says_what_to_run(repository: Repository) -> None:
    with pytest.raises(ProfileNotFound, match="run `casspec calibrate` first"):
        repository.profile("latest")


def test_an_ambiguous_prefix_lists_the_candidates(repository: Repository) -> None:
    seeds_by_digit: dict[str, int] = {}
    for seed in range(40):
        digit = samples.profile(seed=seed).profile_id[0]
        if digit in seeds_by_digit:
            break
        seeds_by_digit[digit] = seed
    pair = [samples.profile(seed=seed) for seed in (seeds_by_digit[digit], seed)]
    for profile in pair:
        repository.save_profile(None, profile)
    with pytest.raises(ProfileNotFound, match="ambiguous") as caught:
        repository.profile(digit)
    assert all(profile.profile_id in str(caught.value) for profile in pair)


def test_deleting_a_profile_takes_its_measurements_and_nothing_else(repository: Repository) -> None:
    calibration_id = start(repository)
    own = repository.save_artifact("matrix", b"own", calibration_id)
    shared = repository.save_artifact("other", b"shared", calibration_id)
    repository.save_latency_sample(calibration_id, samples.sample())
    profile = repository.save_profile(calibration_id, samples.profile(artifacts=(own, shared)))
    repository.finish(calibration_id)
    repository.save_bench(profile.profile_id, samples.bench_report())
    kept = repository.save_profile(None, samples.profile(seed=1, artifacts=(shared,)))
    loose = repository.save_bench(None, samples.bench_report(noise=0.5))

    assert repository.delete_profile(profile.profile_id) == profile
    assert repository.profiles() == [kept]
    assert finished(repository) is None
    assert repository.latency_samples(calibration_id) == []
    assert repository.bench_reports() == [loose]
    assert repository.artifact(own.sha256) is None
    assert repository.artifact(shared.sha256) == b"shared"


def test_what_is_calibrated_again_after_its_profile_was_deleted_has_an_id_nobody_knows(repository: Repository) -> None:
    """Optuna and MLflow keep runs by that ID and are not told of deletions."""
    first = start(repository)
    profile = repository.save_profile(first, samples.profile())
    repository.delete_profile(profile.profile_id)
    assert start(repository) != first


def test_the_latest_under_way_is_one_that_is_wanted(repository: Repository) -> None:
    first = start(repository)
    other = samples.SETTINGS | {"trials": 3}
    repository.calibration(samples.model(), samples.device(), "float32", other)
    assert repository.stored_calibration("latest").calibration_id != first
    assert repository.stored_calibration("latest", lambda settings: "trials" not in settings).calibration_id == first
    with pytest.raises(CalibrationNotFound, match="under way"):
        repository.stored_calibration("latest", lambda settings: False)


def test_an_artifact_of_a_running_calibration_outlives_a_deleted_profile(repository: Repository) -> None:
    artifact = repository.save_artifact("matrix", b"bytes")
    profile = repository.save_profile(None, samples.profile(artifacts=(artifact,)))
    repository.save_artifact("matrix", b"bytes", start(repository))
    repository.delete_profile(profile.profile_id)
    assert repository.artifact(artifact.sha256) == b"bytes"


def test_deleting_a_profile_takes_the_recordings_of_its_calibrations_alone(repository: Repository) -> None:
    first, second = start(repository), start(repository, force=True)
    own = repository.save_artifact("recording:own", b"own", first)
    shared, _ = [repository.save_artifact("recording:shared", b"shared", key) for key in (first, second)]
    loose = repository.save_artifact("loose", b"named by nobody")
    profile = repository.save_profile(first, samples.profile())
    repository.delete_profile(profile.profile_id)
    assert repository.artifact(own.sha256) is None
    assert repository.artifact(shared.sha256) == b"shared"
    assert repository.artifact(loose.sha256) == b"named by nobody"


def test_artifacts_are_kept_by_hash_and_once_a_calibration(repository: Repository) -> None:
    calibration_id = start(repository)
    content = bytes(range(256)) * 4096
    first = repository.save_artifact("matrix", content, calibration_id)
    assert first == Artifact(name="matrix", sha256=first.sha256, n_bytes=len(content))
    assert repository.save_artifact("matrix", b"another run", calibration_id) == first
    assert repository.artifact(first.sha256) == content
    assert repository.artifact("0" * 64) is None


def test_bench_reports_belong_to_their_profile(repository: Repository) -> None:
    profile = repository.save_profile(None, samples.profile())
    own, loose = samples.bench_report(), samples.bench_report(noise=0.2)
    repository.save_bench(profile.profile_id, own)
    repository.save_bench(profile.profile_id, own)
    repository.save_bench(None, loose)
    assert repository.bench_reports(profile.profile_id) == [own]
    assert repository.bench_reports() == [loose, own]


def test_what_was_seen_of_a_profile_stands_with_its_calibration(repository: Repository) -> None:
    profile = repository.save_profile(start(repository), samples.profile())

    def seen(began_at: str, tokens: int, of: str = profile.profile_id) -> WatchSummary:
        return WatchSummary(profile_id=of, began_at=began_at, ended_at=began_at, tokens=tokens)

    repository.save_watched("b", seen("2026-03-02", 7))
    repository.save_watched("a", seen("2026-03-01", 1))
    repository.save_watched("a", seen("2026-03-01", 5))
    assert [(one.began_at, one.tokens) for one in repository.watched(profile.profile_id)] == [
        ("2026-03-01", 5),
        ("2026-03-02", 7),
    ]
    imported = repository.save_profile(None, samples.profile(seed=9))
    with pytest.raises(ProfileNotFound, match="was imported"):
        repository.save_watched("c", seen("2026-03-01", 1, imported.profile_id))


def test_seeds_are_offered_to_models_of_as_many_layers(repository: Repository) -> None:
    old, new, other = SkipSet(attention=(1,)), SkipSet(mlp=(2,)), SkipSet(mlp=(30,))
    repository.save_starting_plan("swift", old, 8)
    repository.save_starting_plan("swift", new, 8)
    repository.save_starting_plan("large", other, 32)
    assert repository.starting_plans(8) == [StartingPlan("swift", 8, new)]
    assert repository.starting_plans(16) == []
    with pytest.raises(ValueError, match="do not exist"):
        repository.save_starting_plan("wrong", other, 8)


def calibrated(repository: Repository, seed: int, dtype: str = "float32", backend: Backend | None = None):
    """The profile of a finished calibration of its own."""
    settings = samples.SETTINGS | {"seed": seed} | ({"backend": backend} if backend else {})
    key = repository.calibration(samples.model(), samples.device(), dtype, settings).calibration_id
    profile = repository.save_profile(key, samples.profile(seed=seed, dtype=dtype, backend=backend))
    repository.finish(key)
    return profile


def named(repository: Repository) -> dict[tuple[int, str], list[str]]:
    return {
        (profile.seed, profile.dtype): repository.aliases()[profile.content_hash()]
        for profile in repository.profiles()
        if profile.content_hash() in repository.aliases()
    }


def test_the_newest_finished_calibration_is_the_candidate(repository: Repository) -> None:
    calibrated(repository, 1)
    calibrated(repository, 2)
    other = calibrated(repository, 3, dtype="bfloat16")
    repository.save_profile(start(repository), samples.profile(seed=4))  # not finished yet
    assert named(repository) == {(2, "float32"): ["candidate"], (3, "bfloat16"): ["candidate"]}
    with pytest.raises(ProfileNotFound, match="give the ID of one"):
        repository.profile("candidate")
    repository.delete_profile(other.content_hash())
    assert repository.profile("candidate").seed == 2


def test_an_alias_has_one_holder_and_goes_back_when_that_is_deleted(repository: Repository) -> None:
    first, second = calibrated(repository, 1), calibrated(repository, 2)
    for profile in (first, second, first, second):
        assert repository.set_alias("production", profile.profile_id) == profile
        assert repository.profile("production") == profile
    assert named(repository) == {(2, "float32"): ["candidate", "production"]}
    repository.set_alias("production", first.profile_id)
    repository.delete_profile("production")
    assert named(repository) == {(2, "float32"): ["candidate", "production"]}


def test_an_alias_has_a_holder_on_each_backend(repository: Repository) -> None:
    lean, generic = calibrated(repository, 1), calibrated(repository, 2, backend="generic")
    repository.set_alias("production", lean.profile_id)
    repository.set_alias("production", generic.profile_id)
    for profile in (lean, generic):
        assert repository.alias_holders(profile) == dict.fromkeys(("candidate", "production"), profile.content_hash())
    again = calibrated(repository, 3, backend="lean")  # settings say so since there is another
    assert repository.alias_holders(lean)["candidate"] == again.content_hash()


@pytest.mark.parametrize("alias", ["", "latest", "none", "Production", "fade", "v2", "a b", "12"])
def test_an_alias_is_a_word_of_its_own(repository: Repository, alias: str) -> None:
    profile = calibrated(repository, 1)
    with pytest.raises(UnsupportedOption, match="production"):
        repository.set_alias(alias, profile.profile_id)


def test_an_imported_profile_takes_no_alias(repository: Repository) -> None:
    imported = repository.save_profile(None, samples.profile())
    with pytest.raises(ProfileNotFound, match="imported"):
        repository.set_alias("production", imported.profile_id)


def fill(storage: str, worker: int, layers: list[int]) -> None:
    with open_repository(storage) as repository:
        calibration_id = start(repository)
        for layer in layers:
            found = samples.candidate(layers=(layer,), source=f"worker {worker}")
            stored = repository.save_candidate(calibration_id, found)
            assert isinstance(stored, DrafterCandidate)
            repository.save_latency_sample(calibration_id, samples.sample(n_tokens=layer + 1, order=layer))
        repository.save_profile(calibration_id, samples.profile(seed=worker))
        repository.finish(calibration_id)


def test_processes_that_start_on_an_empty_database_share_one_calibration(storage: str) -> None:
    context = multiprocessing.get_context("spawn")
    layers = list(range(25))
    workers = [context.Process(target=fill, args=(storage, n, layers[:: 1 - 2 * (n % 2)])) for n in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    with open_repository(storage) as repository:
        calibration_id = start(repository)
        candidates = repository.candidates(calibration_id)
        assert sorted(found.skip.attention[0] for found in candidates) == layers
        assert len(repository.latency_samples(calibration_id)) == len(layers)
        assert len(repository.profiles()) == 1


def save_forever(storage: str, saved: Connection) -> None:
    with open_repository(storage) as repository:
        calibration_id = start(repository)
        for layer in itertools.count():
            repository.save_candidate(calibration_id, samples.candidate(layers=(layer,)))
            saved.send(layer)


def test_what_was_saved_survives_a_killed_process(storage: str) -> None:
    context = multiprocessing.get_context("spawn")
    reports, saved = context.Pipe(duplex=False)
    worker = context.Process(target=save_forever, args=(storage, saved))
    worker.start()
    while (last := reports.recv()) < 20:
        pass
    worker.kill()
    worker.join(timeout=30)
    while reports.poll():
        last = reports.recv()
    with open_repository(storage) as repository:
        layers = [found.skip.attention[0] for found in repository.candidates(start(repository))]
        assert layers in (list(range(last + 1)), list(range(last + 2))), "the report of the last row may be lost"
