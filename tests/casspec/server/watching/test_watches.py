"""A profile is watched for as long as it is served."""

from __future__ import annotations

from casspec.runtime.decoding.generation import Statistics
from casspec.runtime.watch.profile_watch import ProfileWatch
from casspec.server.watching.watches import Watches
from casspec.storage.schema import CascadeProfile
from tests.casspec.server.serving import profile_of


def profile(**changes: object) -> CascadeProfile:
    document = profile_of().document
    assert document is not None
    return document.model_copy(update=changes)


def hears(watch: ProfileWatch | None) -> None:
    assert watch is not None
    watch.forward("full", 1.0, 1.0)


def test_the_same_profile_goes_on_being_watched_and_another_one_begins_anew() -> None:
    watches = Watches("m")
    first = watches.of(profile())
    assert watches.of(profile()) is first
    other = watches.of(profile(predicted_speedup={"greedy": 1.5}))
    assert other is not first
    assert watches.of(profile()) not in (first, other)
    assert watches.of(None) is None
    assert watches.drifts == []


def test_summaries_are_of_all_that_were_served_by_the_id_of_the_store() -> None:
    watches = Watches("m")
    hears(watches.of(profile(), "stored"))
    hears(watches.of(profile(predicted_speedup={"greedy": 1.5})))
    watches.of(profile(predicted_speedup={"greedy": 2.5}))
    first, second = watches.summaries().values()
    assert first.profile_id == "stored"
    assert second.profile_id == profile(predicted_speedup={"greedy": 1.5}).profile_id
    assert [plan.forwards for one in (first, second) for plan in one.plans] == [1, 1]
    assert set(watches.summaries()) == set(watches.summaries()), "later ones take the place of earlier ones"
    watches.forget()
    assert watches.summaries() == {}


def test_what_is_seen_is_of_the_profile_in_use() -> None:
    watches = Watches("m")
    assert watches.seen() is None
    watch = watches.of(profile(), "stored")
    assert watches.seen() is None, "nothing was decoded with it"
    hears(watch)
    seen = watches.seen()
    assert seen is not None
    assert (seen.summary.profile_id, seen.summary.plans[0].forwards, seen.drifts) == ("stored", 1, ())
    watches.of(profile(predicted_speedup={"greedy": 1.5}))
    assert watches.seen() is None


def test_a_drift_is_told_with_what_to_run() -> None:
    watches = Watches("the model", "traffic.jsonl", ("--dtype", "float32"))
    watch = watches.of(profile())
    assert watch is not None
    assert watches.drifts == []
    for _ in range(400):
        statistics = Statistics("dytc", emitted_tokens=200)
        statistics.count_trials({"light": (200, 0)})
        watch.text("greedy", statistics)
    (found,) = watches.drifts
    assert (found.drift.kind, found.drift.subject, found.drift.mode) == ("acceptance", "light", "greedy")
    assert found.remedy == "casspec calibrate 'the model' --dtype float32 --suite traffic.jsonl"
