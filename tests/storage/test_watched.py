"""Summaries of a watch: they add up, and travel between releases as other documents do."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from casspec.storage.document import SCHEMA_VERSION, SchemaVersion
from casspec.storage.errors import MalformedFile, ProfileMismatch
from casspec.storage.watched import WatchedDrafter, WatchedPlan, WatchSummary

OURS = SchemaVersion.parse(SCHEMA_VERSION)
NEXT_MINOR, NEXT_MAJOR = f"{OURS.major}.{OURS.minor + 1}", f"{OURS.major + 1}.0"

counts = st.integers(0, 10**6)
drafters = st.lists(
    st.builds(
        WatchedDrafter,
        mode=st.sampled_from(["greedy", "sample"]),
        drafter=st.sampled_from(["int4", "prompt-lookup"]),
        calibrated=st.just(0.5),
        texts=counts,
        trials=counts,
        right=counts,
        squares=counts.map(float),
    ),
    max_size=4,
    unique_by=lambda each: (each.mode, each.drafter),
).map(tuple)
plans = st.lists(
    st.builds(
        WatchedPlan,
        plan=st.sampled_from(["target", "int4"]),
        forwards=counts,
        predicted_ms=counts.map(float),
        measured_ms=counts.map(float),
    ),
    max_size=2,
    unique_by=lambda each: each.plan,
).map(tuple)
summaries = st.builds(
    WatchSummary,
    profile_id=st.just("a" * 12),
    began_at=st.sampled_from(["2026-01-01T00:00:00+00:00", "2026-01-02T00:00:00+00:00"]),
    ended_at=st.sampled_from(["2026-01-03T00:00:00+00:00", "2026-01-04T00:00:00+00:00"]),
    tokens=counts,
    drafters=drafters,
    plans=plans,
)


def small(**changes: Any) -> WatchSummary:
    fields: dict[str, Any] = {
        "profile_id": "a" * 12,
        "began_at": "2026-01-01T00:00:00+00:00",
        "ended_at": "2026-01-02T00:00:00+00:00",
        "tokens": 10,
        "drafters": (WatchedDrafter(mode="greedy", drafter="int4", calibrated=0.95, texts=1, trials=9, right=8),),
        "plans": (WatchedPlan(plan="target", forwards=3, predicted_ms=3.0, measured_ms=4.0),),
    }
    return WatchSummary(**fields | changes)


def totals(summary: WatchSummary) -> dict[Any, Any]:
    found: dict[Any, Any] = {"tokens": summary.tokens}
    for drafter in summary.drafters:
        found[drafter.mode, drafter.drafter] = drafter.texts, drafter.trials, drafter.right, drafter.squares
    for plan in summary.plans:
        found[plan.plan] = plan.forwards, plan.predicted_ms, plan.measured_ms
    return found


@given(summaries, summaries, summaries)
def test_the_sum_does_not_depend_on_order(one: WatchSummary, other: WatchSummary, third: WatchSummary) -> None:
    together = one.plus(other)
    assert totals(together) == totals(other.plus(one))
    assert totals(together.plus(third)) == totals(one.plus(other.plus(third)))
    assert (together.began_at, together.ended_at) == (
        min(one.began_at, other.began_at),
        max(one.ended_at, other.ended_at),
    )
    assert together.tokens == one.tokens + other.tokens


@given(summaries)
def test_a_summary_survives_its_own_json(summary: WatchSummary) -> None:
    again = WatchSummary.model_validate_json(summary.canonical_json())
    assert again == summary
    assert again.content_hash() == summary.content_hash()


def test_times_are_circumstances() -> None:
    assert small(began_at="2020-01-01T00:00:00+00:00").content_hash() == small().content_hash()
    assert small(tokens=11).content_hash() != small().content_hash()


def test_summaries_of_two_profiles_are_not_added() -> None:
    with pytest.raises(ProfileMismatch, match=r"a{12}.*b{12}"):
        small().plus(small(profile_id="b" * 12))


def test_a_newer_minor_revision_is_read_and_kept_and_a_major_one_refused() -> None:
    content = json.loads(small().canonical_json()) | {"schema_version": NEXT_MINOR, "energy": 3}
    content["drafters"][0]["positions"] = [5, 3]
    read = WatchSummary.model_validate(content)
    assert json.loads(read.canonical_json()) == content
    assert read.plus(small()).tokens == 20
    with pytest.raises(MalformedFile, match="upgrade casspec"):
        WatchSummary.model_validate(content | {"schema_version": NEXT_MAJOR})


def test_an_older_summary_without_later_fields_is_read() -> None:
    content = json.loads(small().canonical_json())
    del content["drafters"], content["plans"]
    assert WatchSummary.model_validate(content | {"schema_version": f"{OURS.major}.0"}) == small(drafters=(), plans=())


def test_an_unknown_field_of_this_revision_is_a_mistake() -> None:
    content = json.loads(small().canonical_json()) | {"energy": 3}
    with pytest.raises(ValidationError, match="energy"):
        WatchSummary.model_validate(content)
