"""Profiles in the model registry: a version each, and the aliases of our store."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from casspec.profile_lookup import load_profile
from casspec.runtime.loading.profiles import LoadedProfile
from casspec.tuner.mlflow_mirror.mirror import MLflowMirror
from casspec.tuner.mlflow_mirror.registry import registered_name, subject
from tests.storage import samples
from tests.tuner.mlflow_mirror.mirrored import MATRIX, aliases, history, versions


def test_a_profile_is_one_version_however_often_it_is_mirrored(mlflow_mirror) -> None:
    known = history("registered", aliases=("candidate",), seed=11)
    mlflow_mirror.mirror(known)
    (version,) = versions(mlflow_mirror, known.profile)
    assert version.tags["decision"] == "cascade"
    # Two processes that made the same one, and an alias lost to a kill before it was set.
    folder = version.source
    mlflow_mirror._client.create_model_version(version.name, folder, version.run_id, tags=version.tags)
    mlflow_mirror._client.delete_registered_model_alias(version.name, "candidate")
    mlflow_mirror.mirror(known)
    assert [one.version for one in versions(mlflow_mirror, known.profile)] == [version.version]
    assert aliases(mlflow_mirror, known.profile)["candidate"] == known.profile.profile_id


def test_aliases_follow_the_store(mlflow_mirror) -> None:
    first, second = history("first", seed=21), history("second", seed=22)
    one, two = (known.profile.content_hash() for known in (first, second))

    def shown() -> dict[str, int]:
        seeds = {first.profile.profile_id: 21, second.profile.profile_id: 22}
        return {alias: seeds[profile_id] for alias, profile_id in aliases(mlflow_mirror, first.profile).items()}

    mlflow_mirror.mirror(replace(first, aliases={"candidate": one, "production": one}))
    mlflow_mirror.mirror(replace(second, aliases={"candidate": two, "production": one}))
    assert shown() == {"candidate": 22, "production": 21}
    mlflow_mirror.promote(replace(second, aliases={"candidate": two, "production": two}))
    assert shown() == {"candidate": 22, "production": 22}
    mlflow_mirror.forget(second.profile, {"candidate": one, "production": one})
    assert versions(mlflow_mirror, second.profile) == []
    assert shown() == {"candidate": 21, "production": 21}
    mlflow_mirror.promote(replace(first, aliases={"production": one, "candidate": "a profile that was never mirrored"}))
    assert shown() == {"production": 21}


def test_a_host_leaves_aliases_that_others_gave_in_the_registry_of_a_team(of_host) -> None:
    here, there = MLflowMirror(of_host("here")), MLflowMirror(of_host("there"))
    ours, theirs = history("ours", seed=51), history("theirs", seed=52)
    one, two = (known.profile.content_hash() for known in (ours, theirs))
    here.mirror(replace(ours, aliases={"candidate": one, "production": one}))
    there.mirror(replace(theirs, aliases={"candidate": two}))
    assert aliases(here, ours.profile) == {
        "candidate": theirs.profile.profile_id,
        "production": ours.profile.profile_id,
    }
    there.promote(replace(theirs, aliases={"candidate": two, "production": two}))
    here.mirror(replace(ours, aliases={"canary": one}))
    assert set(aliases(here, ours.profile).values()) == {ours.profile.profile_id, theirs.profile.profile_id}
    there.forget(theirs.profile, {"candidate": one, "canary": two})
    assert aliases(here, ours.profile) == dict.fromkeys(("candidate", "canary"), ours.profile.profile_id)


def test_another_device_is_another_registered_model(mlflow_mirror) -> None:
    here, there = (history(f"on {n}", device=samples.device(threads=n)) for n in (3, 4))
    for one in (here, there):
        mlflow_mirror.mirror(one)
    names = [versions(mlflow_mirror, one.profile)[0].name for one in (here, there)]
    assert names[0] != names[1]
    assert all(name.startswith("tiny-float32-test-processor-") for name in names)


def test_a_version_downloads_as_a_profile_that_can_be_loaded(mlflow_mirror, databases, tmp_path, monkeypatch) -> None:
    import mlflow

    known = history("served", aliases=("production",), seed=41, dtype="bfloat16")
    mlflow_mirror.mirror(known)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", databases.tracking_uri)
    uri = f"models:/{registered_name(known.profile)}@production"
    folder = mlflow.artifacts.download_artifacts(uri, dst_path=str(tmp_path))
    assert load_profile(Path(folder) / "profile.json") == LoadedProfile(known.profile, MATRIX)


def test_profiles_of_one_model_dtype_device_and_backend_share_a_registered_model() -> None:
    usual = samples.profile()
    assert subject(samples.profile(seed=9)) == subject(usual)
    others = [
        samples.profile(dtype="bfloat16"),
        samples.profile(model=samples.model(weights_sha256="v" * 64)),
        samples.profile(device=samples.device(threads=7)),
        samples.profile(backend="generic"),
    ]
    assert len({subject(one) for one in [usual, *others]}) == 5
    assert len({registered_name(one) for one in [usual, *others]}) == 5


def test_a_registered_name_is_readable_and_fit_for_an_address() -> None:
    model = samples.model(name="Qwen/Qwen2.5 (mine): é")
    name = registered_name(samples.profile(model=model))
    assert name.startswith("Qwen-Qwen2.5-mine-float32-test-processor-")
