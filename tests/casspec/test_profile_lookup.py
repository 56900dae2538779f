"""Where profiles are found: in the store, in files, under an alias, or by what fits the model."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import casspec
from casspec.profile_lookup import fitting_profile, profile_for
from casspec.runtime.loading.device import device_fingerprint
from casspec.runtime.loading.profiles import LoadedProfile
from casspec.runtime.model.target import TargetModel
from casspec.storage import open_repository
from casspec.storage.errors import CasspecError, MalformedFile, ProfileNotFound
from casspec.storage.export.json_profile import artifact_file, export
from casspec.storage.schema import CascadeProfile
from tests.runtime.tiny import repetitive_prompt, tiny_profile, tiny_target


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


def one_line(error: pytest.ExceptionInfo[CasspecError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


@pytest.fixture(scope="module")
def target() -> TargetModel:
    return tiny_target(seed=7)


def save(storage: str, loaded: LoadedProfile, **changes: Any) -> CascadeProfile:
    with open_repository(storage) as repository:
        artifact = repository.save_artifact("recycling-matrix", loaded.recycling_matrix)
        return repository.save_profile(None, loaded.document.model_copy(update={"artifacts": (artifact,), **changes}))


def test_a_stored_profile_comes_with_its_artifacts(target: TargetModel, storage: str) -> None:
    loaded = tiny_profile(target)
    saved = save(storage, loaded)
    newer = save(storage, loaded, seed=1)
    for selection in (saved.profile_id, saved.profile_id[:6]):
        found = casspec.load_profile(selection, storage)
        assert (found.document, found.recycling_matrix) == (saved, loaded.recycling_matrix)
    assert casspec.load_profile("latest", storage).document == newer
    assert casspec.Decoder(target, found).generate(repetitive_prompt(20), 10).token_ids


def test_the_environment_names_the_store(target: TargetModel, storage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = save(storage, tiny_profile(target))
    monkeypatch.setenv("CASSPEC_STORAGE", storage)
    assert casspec.load_profile("latest").document == saved


def test_a_profile_is_read_from_a_file_with_its_artifacts_beside_it(
    target: TargetModel, storage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loaded = tiny_profile(target)
    saved = save(storage, loaded)
    file = tmp_path / "profile.json"
    file.write_text(export(saved).text)
    with caplog.at_level(logging.WARNING, "casspec"):
        cold = casspec.load_profile(file)
    assert (cold.document, cold.recycling_matrix) == (saved, None)
    assert "starts cold" in caplog.text
    caplog.clear()
    artifact_file(file, saved.artifacts[0]).write_bytes(loaded.recycling_matrix)
    assert casspec.load_profile(str(file)).recycling_matrix == loaded.recycling_matrix
    assert not caplog.text
    for profile in (cold, casspec.load_profile(file)):
        assert casspec.Decoder(target, profile).generate([1, 2, 3], 8).token_ids


def test_files_need_the_base_install_only(target: TargetModel, tmp_path: Path) -> None:
    file = tmp_path / "profile.json"
    file.write_text(export(tiny_profile(target).document).text)
    script = (
        "import sys\n"
        "for name in ('sqlalchemy', 'alembic', 'optuna', 'mlflow', 'sklearn'): sys.modules[name] = None\n"
        "import casspec\n"
        f"print(casspec.load_profile({str(file)!r}).document.profile_id)\n"
        "try: casspec.load_profile('latest')\n"
        "except casspec.storage.errors.StorageError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    identity, advice = done.stdout.splitlines()
    assert identity == tiny_profile(target).document.profile_id
    assert "casspec[calibrate]" in advice


@pytest.mark.parametrize(
    ("content", "error", "named"),
    [
        (None, ProfileNotFound, "cannot be read"),
        ("{", MalformedFile, "no JSON"),
        ("{}", MalformedFile, "no casspec profile"),
        ('{"schema_version": 99}', MalformedFile, "upgrade casspec"),
        ('{"schema_version": 1}', MalformedFile, "no valid profile"),
    ],
)
def test_files_that_are_no_profile_are_refused(
    tmp_path: Path, content: str | None, error: type[CasspecError], named: str
) -> None:
    file = tmp_path / "profile.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(error, match=named) as refusal:
        casspec.load_profile(file)
    assert str(file) in one_line(refusal)


@pytest.mark.parametrize("selection", ["latest", "abcdef", "%"])
def test_a_profile_nobody_stored_is_refused(storage: str, selection: str) -> None:
    with pytest.raises(ProfileNotFound) as refusal:
        casspec.load_profile(selection, storage)
    one_line(refusal)


def test_the_latest_profile_that_fits_is_found(target: TargetModel, storage: str) -> None:
    with pytest.raises(ProfileNotFound, match="tiny-llama"):
        fitting_profile(target, storage)
    fitting = save(storage, tiny_profile(target))
    save(storage, tiny_profile(tiny_target(seed=8)))
    assert fitting_profile(target, storage).document == fitting


def test_a_profile_of_this_very_device_goes_before_a_later_one_of_a_device_with_the_same_kernels(
    target: TargetModel, storage: str
) -> None:
    here = device_fingerprint("cpu")
    elsewhere = here.model_copy(update={"name": "another processor"})
    save(storage, tiny_profile(target), device=here.model_copy(update={"capability": "sve"}))
    with pytest.raises(ProfileNotFound):
        fitting_profile(target, storage)
    similar = save(storage, tiny_profile(target), device=elsewhere)
    assert fitting_profile(target, storage).document == similar
    exact = save(storage, tiny_profile(target))
    save(storage, tiny_profile(target), device=elsewhere, seed=1)
    assert fitting_profile(target, storage).document == exact
