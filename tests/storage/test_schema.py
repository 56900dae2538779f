"""Profiles as documents."""

from __future__ import annotations

import json
import subprocess
import sys

from hypothesis import given

from casspec.storage.schema import CascadeProfile, DrafterSpec, Precision, Quantization, SkipSet
from tests.storage import samples


@given(samples.profiles)
def test_a_profile_survives_its_own_json(profile: CascadeProfile) -> None:
    again = CascadeProfile.model_validate_json(profile.canonical_json())
    assert again == profile
    assert again.canonical_json() == profile.canonical_json()
    assert again.content_hash() == profile.content_hash()


def test_hash_is_the_one_released() -> None:
    """A changed hash would orphan every stored profile: it changes with SCHEMA_VERSION only."""
    assert samples.model().content_hash() == "f928dd7b60652b3669e005acbcbbe23875bfacfe188096b4b0684f3e6f4f4bc0"
    assert samples.profile().content_hash() == "3af2c7f8ed9f41d841941226a1d05521f7566bd8b93736ea4bca400b6b785041"


def test_a_profile_of_before_predictions_by_task_and_batch_still_loads() -> None:
    added = {
        "predicted_of_others",
        "predicted_interval",
        "predicted_by_task",
        "predicted_by_batch",
        "by_task",
        "task_gains",
        "forwards",
    }
    old = {name: value for name, value in json.loads(samples.profile().canonical_json()).items() if name not in added}
    read = CascadeProfile.model_validate(old)
    assert read == samples.profile()
    assert (read.by_task, read.predicted_by_batch) == ({}, ())


def test_another_method_decodes_by_default_where_it_is_predicted_to_lead() -> None:
    predicted = {"greedy": 2.0, "sample": 1.2}
    others = {"greedy": {"prompt-lookup": 2.03}, "sample": {"prompt-lookup": 1.3, "token-recycling": 1.25}}
    profile = samples.profile(predicted_speedup=predicted, predicted_of_others=others)
    assert profile.fastest("greedy") == "dytc", "such a lead is within what predictions are known to"
    assert profile.fastest("sample") == "prompt-lookup"
    assert samples.profile().fastest("greedy") == "dytc"
    nothing_pays = samples.profile(
        decision="off", predicted_speedup={"greedy": 1.0}, predicted_of_others={"greedy": {"prompt-lookup": 0.9}}
    )
    assert nothing_pays.fastest("greedy") == "dytc"


def test_plans_of_one_precision_share_their_weights() -> None:
    int8 = Quantization(precision=Precision.INT8_DYNAMIC, extra_bytes=1000)
    int4 = Quantization(precision=Precision.INT4_WEIGHT, extra_bytes=30)
    drafters = [
        DrafterSpec(name=str(i), kind="self", skip=SkipSet(mlp=(i,)), quantization=quantization)
        for i, quantization in enumerate((int8, Quantization(), int4, int8))
    ]
    assert samples.profile(drafters=tuple(drafters)).extra_bytes == 1030
    assert samples.profile().extra_bytes == 0


def test_documents_are_read_without_torch_and_sqlalchemy() -> None:
    check = "import sys, casspec.storage.schema; assert not {'torch', 'sqlalchemy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True, timeout=60)
