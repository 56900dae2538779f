"""Which methods replay, and that they do without the model."""

from __future__ import annotations

import pytest

from casspec.runtime.model.plan import Plan
from casspec.runtime.policies import METHODS
from casspec.storage.errors import UnsupportedOption
from casspec.storage.schema import CascadeProfile
from casspec.tuner.recordings.traced_plan import TracedPlan
from casspec.tuner.replay.policies import REFUSED, build_replayed, replayable
from casspec.tuner.replay.recorded_sequence import Drafting
from casspec.tuner.replay.simulate import replay
from tests.runtime.own_methods import Copying, CopyingRecordings, empty_registry
from tests.tuner.tiny import VOCAB
from tests.tuner.tiny_replay import TARGET, drafting, forward_ms, of_mode, verify_ms


@pytest.mark.parametrize("method", [method for method in METHODS if method not in REFUSED])
def test_every_method_but_those_refused_replays_without_the_model(method: str, profile: CascadeProfile) -> None:
    books: dict[str, Drafting] = {}

    def traced(plan: Plan) -> TracedPlan:
        if plan.name not in books:
            TARGET.prepare(plan.precision)
            books[plan.name] = drafting(plan)
        return books[plan.name].traced(plan)

    for mode in ("sample", "greedy"):
        policy = build_replayed(method, profile, mode, None, forward_ms)
        result = replay(policy, of_mode(mode), VOCAB, verify_ms, drafting=Drafting(traced, forward_ms))
        assert result.emitted_tokens == sum(len(one.continuation_tokens) for one in of_mode(mode))
        assert 1 <= result.mean_acceptance_length <= result.tree_nodes / result.verify_steps


@pytest.mark.parametrize("method", [*REFUSED, "nonsense"])
def test_what_cannot_be_replayed_is_refused_by_name(method: str) -> None:
    with pytest.raises(UnsupportedOption, match=f"'{method}'"):
        replayable(["dytc", method])
    assert method not in replayable(None)


@pytest.mark.parametrize("names", [[], ["autoregressive"]])
def test_a_replay_of_nothing_is_refused(names: list[str]) -> None:
    with pytest.raises(UnsupportedOption, match="no method is named besides autoregressive"):
        replayable(names)


def test_a_registered_method_is_replayed_where_it_says_that_it_can_be(
    profile: CascadeProfile, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = empty_registry(monkeypatch)
    registry.register("copying", Copying)
    registry.register("copying-recordings", CopyingRecordings)
    assert "copying-recordings" in replayable(None)
    assert "copying" not in replayable(None)
    with pytest.raises(UnsupportedOption, match="'copying' cannot be replayed: it does not say"):
        replayable(["copying"])
    policy = build_replayed("copying-recordings", profile, "greedy", None, forward_ms)
    result = replay(policy, of_mode("greedy"), VOCAB, verify_ms)
    assert result.emitted_tokens == sum(len(one.continuation_tokens) for one in of_mode("greedy"))
