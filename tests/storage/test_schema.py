from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casspec.storage.schema import (
    CascadeProfile,
    DrafterSpec,
    LatencyModel,
    LatencyTable,
    Measurement,
    Precision,
    Quantization,
    SkipSet,
)
from tests.storage import samples


@given(samples.profiles)
def test_a_profile_survives_its_own_json(profile: CascadeProfile) -> None:
    again = CascadeProfile.model_validate_json(profile.canonical_json())
    assert again == profile
    assert again.canonical_json() == profile.canonical_json()
    assert again.content_hash() == profile.content_hash()


@given(samples.profiles, st.randoms())
def test_hash_does_not_depend_on_the_order_of_json_keys(profile: CascadeProfile, random) -> None:
    def shuffled(value):
        if isinstance(value, dict):
            items = list(value.items())
            random.shuffle(items)
            return {key: shuffled(entry) for key, entry in items}
        return [shuffled(entry) for entry in value] if isinstance(value, list) else value

    document = shuffled(json.loads(profile.canonical_json()))
    assert CascadeProfile.model_validate_json(json.dumps(document)).content_hash() == profile.content_hash()


def test_hash_is_the_one_released() -> None:
    """A changed hash would orphan every stored profile: it changes with SCHEMA_VERSION only."""
    assert samples.model().content_hash() == "f928dd7b60652b3669e005acbcbbe23875bfacfe188096b4b0684f3e6f4f4bc0"
    assert samples.profile().content_hash() == "3af2c7f8ed9f41d841941226a1d05521f7566bd8b93736ea4bca400b6b785041"


def test_circumstances_are_not_hashed() -> None:
    assert samples.model(name="elsewhere").content_hash() == samples.model().content_hash()
    assert samples.device(ceilings=samples.ceilings()).content_hash() == samples.device().content_hash()
    assert samples.profile(created_at="2027-01-01").content_hash() == samples.profile().content_hash()
    moved = samples.profile(model=samples.model(name="elsewhere"), device=samples.device())
    assert moved.content_hash() == samples.profile().content_hash()


def test_content_is_hashed() -> None:
    others = [
        samples.profile(seed=1),
        samples.profile(device=samples.device(threads=7)),
        samples.profile(latency=samples.latency_model(noise=0.3)),
        samples.profile(drafters=()),
    ]
    assert len({profile.content_hash() for profile in [samples.profile(), *others]}) == 5


TABLE = {
    "precision": "target",
    "attention": (2, 4),
    "mlp": (4,),
    "tokens": (1, 4),
    "attended": (64,),
    "ratios": (1,) * 4,
}


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"ratios": (1,) * 3}, "4 cells holds 3 ratios"),
        ({"spreads": (0.1,)}, "4 ratios and 1 spreads"),
        ({"ratios": (1, 1, 0, 1)}, "positive"),
        ({"tokens": (0, 4)}, "positive"),
        ({"attention": (4, 2)}, "rise"),
        ({"mlp": (), "ratios": ()}, "rise"),
    ],
)
def test_a_table_that_cannot_be_interpolated_is_no_document(changes: dict, what: str) -> None:
    LatencyTable.model_validate(TABLE)
    with pytest.raises(ValueError, match=what):
        LatencyTable.model_validate(TABLE | changes)


@pytest.mark.parametrize("changes", [{"coefficients": (0.5,)}, {"covariance": ((1.0, 0.0),)}])
def test_a_latency_model_has_a_coefficient_a_feature(changes: dict) -> None:
    with pytest.raises(ValueError, match="2 features needs as many"):
        LatencyModel.model_validate(samples.latency_model().model_dump() | changes)


def test_a_profile_of_before_predictions_by_task_and_batch_still_loads() -> None:
    added = {"predicted_interval", "predicted_by_task", "predicted_by_batch", "by_task", "task_gains"}
    old = {name: value for name, value in json.loads(samples.profile().canonical_json()).items() if name not in added}
    read = CascadeProfile.model_validate(old)
    assert read == samples.profile()
    assert (read.by_task, read.predicted_by_batch) == ({}, ())


def test_a_field_added_by_a_later_release_keeps_the_hash_of_older_documents() -> None:
    class LaterSkipSet(SkipSet):
        heads: tuple[int, ...] = ()

    assert LaterSkipSet(mlp=(1,)).content_hash() == SkipSet(mlp=(1,)).content_hash()
    assert LaterSkipSet(mlp=(1,), heads=(2,)).content_hash() != SkipSet(mlp=(1,)).content_hash()


@given(st.lists(st.integers(0, 30)), st.randoms())
def test_equal_skip_sets_are_equal_however_written(layers: list[int], random) -> None:
    mixed = layers * 2
    random.shuffle(mixed)
    assert SkipSet(attention=tuple(mixed)) == SkipSet(attention=tuple(layers))
    assert SkipSet(attention=tuple(mixed)).attention == tuple(sorted(set(layers)))


def test_plans_of_one_precision_share_their_weights() -> None:
    int8 = Quantization(precision=Precision.INT8_DYNAMIC, extra_bytes=1000)
    int4 = Quantization(precision=Precision.INT4_WEIGHT, extra_bytes=30)
    drafters = [
        DrafterSpec(name=str(i), kind="self", skip=SkipSet(mlp=(i,)), quantization=quantization)
        for i, quantization in enumerate((int8, Quantization(), int4, int8))
    ]
    assert samples.profile(drafters=tuple(drafters)).extra_bytes == 1030
    assert samples.profile().extra_bytes == 0


def test_skip_set_names_the_layers_a_model_lacks() -> None:
    with pytest.raises(ValueError, match=r"mlp layers \[8, 9\] do not exist in a model of 8 layers"):
        SkipSet(attention=(7,), mlp=(1, 8, 9)).check(8)


@given(st.lists(st.floats(0.001, 1000), min_size=1, max_size=9))
def test_median_lies_among_the_samples(values: list[float]) -> None:
    measurement = Measurement(values=tuple(values))
    assert min(values) <= measurement.median_ms <= max(values)
    assert measurement.quantile(0) == min(values)
    assert measurement.quantile(1) == max(values)


def test_documents_are_read_without_torch_and_sqlalchemy() -> None:
    check = "import sys, casspec.storage.schema; assert not {'torch', 'sqlalchemy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True, timeout=60)
