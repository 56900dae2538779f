from __future__ import annotations

import pytest

from casspec.hub.api.comparison import compare
from casspec.storage.errors import ProfileNotFound
from casspec.storage.repository import Repository
from casspec.storage.schema import DrafterSpec, SkipSet
from tests.storage import samples

SETTINGS = {"suite": "chat", "search": {"trials": 10, "seconds": 5.0}}


def test_every_field_that_differs_is_told_and_no_other(repository: Repository) -> None:
    drafters = (DrafterSpec(name="sparse-40", kind="self", skip=SkipSet(attention=(2,))),)
    changed = {"decision": "retrieval-only", "drafters": drafters, "latency": samples.latency_model(0.05)}
    pair = (samples.profile(), samples.profile(**changed, predicted_speedup={"greedy": 1.7}))
    for trials, profile in zip((10, 20), pair, strict=True):
        settings = SETTINGS | {"search": {"trials": trials, "seconds": 5.0}}
        calibration = repository.calibration(profile.model, profile.device, "float32", settings).calibration_id
        repository.save_profile(calibration, profile)
    repository.save_bench(pair[1].profile_id, samples.bench_report())
    found = compare(repository, pair[0].profile_id, pair[1].profile_id)
    assert [(one.section, one.field, one.a, one.b) for one in found.differences] == [
        ("outcome", "decision", "cascade", "retrieval-only"),
        ("outcome", "fastest, sample", "dytc", None),
        ("speed", "predicted, greedy", 1.5, 1.7),
        ("speed", "predicted, sample", 1.4, None),
        ("speed", "measured, greedy", None, 1.6),
        ("speed", "tokens/s, greedy", None, 1.0),
        ("drafters", "sparse-40, attention left out", [2, 3, 5], [2]),
        ("drafters", "sparse-40, MLP left out", [3], []),
        ("drafters", "prompt-lookup, kind", "prompt-lookup", None),
        ("drafters", "prompt-lookup, precision", "target", None),
        ("drafters", "prompt-lookup, attention left out", [], None),
        ("drafters", "prompt-lookup, MLP left out", [], None),
        ("latency model", "noise", 0.02, 0.05),
        ("calibration settings", "search.trials", 10, 20),
    ]


def test_a_profile_does_not_differ_from_itself(repository: Repository) -> None:
    profile = repository.save_profile(None, samples.profile())
    found = compare(repository, profile.profile_id, "latest")
    assert (found.a, found.differences) == (found.b, ())


def test_an_imported_profile_has_no_settings(repository: Repository) -> None:
    calibration = repository.calibration(samples.model(), samples.device(), "float32", SETTINGS).calibration_id
    made = repository.save_profile(calibration, samples.profile())
    imported = repository.save_profile(None, samples.profile(seed=1))
    told = {one.field: one.b for one in compare(repository, made.profile_id, imported.profile_id).differences}
    assert told["search.trials"] is None


def test_a_profile_that_is_not_there_is_told(repository: Repository) -> None:
    repository.save_profile(None, samples.profile())
    with pytest.raises(ProfileNotFound):
        compare(repository, "latest", "ffff")
