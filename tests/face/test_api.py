"""The public API: models and profiles are loaded or refused in one line; everything else hangs on that."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import casspec
from casspec.profile_lookup import fitting_profile
from casspec.runtime.loading.device import device_fingerprint
from casspec.runtime.loading.loader import LoadedProfile
from casspec.runtime.model.target import TargetModel
from casspec.storage import open_repository
from casspec.storage.errors import (
    CasspecError,
    MalformedFile,
    ProfileMismatch,
    ProfileNotFound,
    UnknownModel,
    UnsupportedModel,
    UnsupportedOption,
)
from casspec.storage.export.json_profile import artifact_file, export
from casspec.storage.schema import CascadeProfile
from tests.runtime.tiny import library_model, repetitive_prompt, tiny_profile, tiny_target


def one_line(error: pytest.ExceptionInfo[CasspecError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


@pytest.fixture(scope="module")
def reference() -> TargetModel:
    return casspec.load_target("reference", dtype="float32")


@pytest.fixture(scope="module")
def target() -> TargetModel:
    return tiny_target(seed=7)


@pytest.fixture
def storage(tmp_path: Path) -> str:
    return str(tmp_path / "store.db")


def save(storage: str, loaded: LoadedProfile, **changes: Any) -> CascadeProfile:
    with open_repository(storage) as repository:
        artifact = repository.save_artifact("recycling-matrix", loaded.recycling_matrix)
        return repository.save_profile(None, loaded.document.model_copy(update={"artifacts": (artifact,), **changes}))


# -------------------------------------------------------------------------------------------------------------- models


def test_the_reference_model_has_a_name_and_a_tokenizer(reference: TargetModel) -> None:
    assert (reference.name, reference.family.name, reference.dtype) == ("reference", "llama", torch.float32)
    assert reference.tokenizer.decode(reference.tokenizer.encode("def f():")) == "def f():"
    assert casspec.load_target("reference").dtype == torch.bfloat16


def test_the_reference_model_decodes_its_own_language(reference: TargetModel) -> None:
    prompt = reference.tokenizer.encode("class Point:\n    def __init__(self, x, y):\n        self.x = x\n")
    expected = reference.library_model.generate(torch.tensor([prompt]), max_new_tokens=32, do_sample=False)
    generation = casspec.Decoder(reference).generate(prompt, 32)
    assert generation.token_ids == expected[0, len(prompt) :].tolist()
    assert generation.statistics.mean_acceptance_length > 1


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    library_model().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_a_directory_without_a_tokenizer_is_a_model_all_the_same(directory: Path) -> None:
    target = casspec.load_target(directory, dtype="bfloat16")
    assert target.tokenizer is None
    assert target.dtype == torch.bfloat16
    assert len(casspec.Decoder(target).generate([1, 2, 3], 5).token_ids) == 5


def change_config(directory: Path, **changes: Any) -> None:
    file = directory / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize(
    ("damage", "error", "named"),
    [
        (lambda path: (path / "model.safetensors").unlink(), UnknownModel, "holds no model"),
        (lambda path: (path / "model.safetensors").write_bytes(b"version https://"), UnknownModel, "holds no model"),
        (lambda path: (path / "config.json").write_text("{"), UnknownModel, "holds no model"),
        (lambda path: change_config(path, num_hidden_layers=5), UnknownModel, "lacks 9 weights"),
        (lambda path: change_config(path, hidden_size=64), UnknownModel, "lacks .* weights"),
        (lambda path: change_config(path, model_type="gpt2"), UnsupportedModel, "'gpt2'"),
        (lambda path: change_config(path, hidden_act="gelu"), UnsupportedModel, "'gelu'"),
    ],
    ids=["no weights", "damaged weights", "damaged config", "missing weights", "other shapes", "family", "activation"],
)
def test_what_is_no_model_is_refused(directory: Path, damage: Any, error: type[CasspecError], named: str) -> None:
    damage(directory)
    with pytest.raises(error, match=named) as refusal:
        casspec.load_target(directory)
    one_line(refusal)


@pytest.mark.parametrize(
    ("arguments", "error", "named"),
    [
        ({"name_or_path": "/nowhere/at/all"}, UnknownModel, "/nowhere/at/all"),
        ({"name_or_path": "reference", "dtype": "int3"}, UnsupportedOption, "'int3'"),
        ({"name_or_path": "reference", "device": "abacus"}, UnsupportedOption, "'abacus'"),
        ({"name_or_path": "reference", "device": "mps"}, UnsupportedOption, "'mps'"),
        ({"name_or_path": "reference", "device": "cuda:99"}, UnsupportedOption, "CUDA|cuda"),
    ],
)
def test_names_that_mean_nothing_here_are_refused(arguments: Any, error: type[CasspecError], named: str) -> None:
    with pytest.raises(error, match=named) as refusal:
        casspec.load_target(**arguments)
    one_line(refusal)


def test_methods_are_listed_with_a_summary(target: TargetModel) -> None:
    listed = casspec.methods()
    assert {"autoregressive", "prompt-lookup", "token-recycling", "layer-sparse", "dytc"} <= listed.keys()
    assert all(summary and "\n" not in summary for summary in listed.values())
    for method in listed:
        assert casspec.Decoder(target, method=method).generate([1, 2], 3).token_ids


# ------------------------------------------------------------------------------------------------------------ profiles


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


@pytest.mark.parametrize(
    ("other", "changes", "named"),
    [
        ({"seed": 8}, {}, "another weights"),
        ({"rms_norm_eps": 1e-3}, {}, "another config"),
        ({}, {"dtype": "bfloat16"}, "calibrated in bfloat16, the model is loaded in float32"),
        (
            {},
            {"device": {"name": "another processor", "capability": "sve"}},
            "calibrated on another processor, .* without sve",
        ),
    ],
    ids=["weights", "config", "dtype", "device"],
)
def test_a_profile_of_something_else_is_refused(
    target: TargetModel, other: dict[str, Any], changes: dict[str, Any], named: str
) -> None:
    document = tiny_profile(target).document
    if "device" in changes:
        changes = {"device": document.device.model_copy(update=changes["device"])}
    with pytest.raises(ProfileMismatch, match=named) as refusal:
        casspec.Decoder(tiny_target(**{"seed": 7} | other), document.model_copy(update=changes))
    assert document.model_copy(update=changes).profile_id in one_line(refusal)


def test_a_model_wrapped_without_its_tokenizer_keeps_its_profile(reference: TargetModel) -> None:
    bare = TargetModel(reference.library_model)
    document = tiny_profile(reference).document.model_copy(update={"drafters": (), "methods": ()})
    assert document.model.tokenizer_sha256 is not None
    prompt = [5, 6, 7, 5, 6]
    expected = casspec.Decoder(reference, document).generate(prompt, 4).token_ids
    assert casspec.Decoder(bare, document).generate(prompt, 4).token_ids == expected


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
