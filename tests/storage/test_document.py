"""Identity of documents: hashed by content, whatever the order of keys and the circumstances."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from casspec.storage.schema import CascadeProfile, SkipSet
from tests.storage import samples


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


def test_a_field_added_by_a_later_release_keeps_the_hash_of_older_documents() -> None:
    class LaterSkipSet(SkipSet):
        heads: tuple[int, ...] = ()

    assert LaterSkipSet(mlp=(1,)).content_hash() == SkipSet(mlp=(1,)).content_hash()
    assert LaterSkipSet(mlp=(1,), heads=(2,)).content_hash() != SkipSet(mlp=(1,)).content_hash()
