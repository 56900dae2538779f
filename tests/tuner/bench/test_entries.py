"""Who takes part in a benchmark."""

from __future__ import annotations

from typing import Any

import pytest

from casspec.runtime.decode import Decoder
from casspec.runtime.loading.profiles import LoadedProfile
from casspec.runtime.model.target import TargetModel
from casspec.storage.errors import UnsupportedOption
from casspec.storage.predictions import TaskCascade
from casspec.storage.schema import MethodSettings
from casspec.tuner.bench.entries import AGAINST, against_entries, method_entries
from tests.runtime.tiny import tiny_profile, tiny_target
from tests.tuner.text_generators import letters_target


@pytest.fixture(scope="module")
def target() -> TargetModel:
    return letters_target()


def test_a_method_that_is_left_out_is_left_out_in_every_variant(
    target: TargetModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def untunable(target: TargetModel, profile: Any, method: str, parameters: Any = None) -> Decoder:
        if method == "suffix" and parameters is None:
            raise UnsupportedOption("no kernel")
        return Decoder(target, profile, method, parameters)

    monkeypatch.setattr("casspec.tuner.bench.entries.Decoder", untunable)
    settings = (MethodSettings(method="suffix", variant="tuned", parameters={"factor": 2.0}),)
    profile = tiny_profile(target, methods=settings)
    told: list[str] = []
    assert "suffix" not in {found.method for found in method_entries(target, profile, tell=told.append)}
    assert told == ["suffix is left out: no kernel"]
    with pytest.raises(UnsupportedOption, match="no kernel"):
        method_entries(target, profile, ["suffix"])


def test_entries_of_a_profile_follow_its_tasks() -> None:
    target = tiny_target(seed=7)
    own = TaskCascade(parameters={"max_nodes": 12}, decision="retrieval-only", predicted_speedup={"greedy": 2.0})
    *_, cascade = method_entries(target, tiny_profile(target, by_task={"copy": own}), ["dytc"])
    assert list(cascade.by_task) == ["copy"]
    assert cascade.generator("copy").profile.decision == "retrieval-only"
    assert cascade.generator("free").profile.decision == "cascade"


def test_entries_begin_with_autoregressive_and_name_unknown_methods(target: TargetModel) -> None:
    entries = method_entries(target, methods=["dytc", "autoregressive", "dytc"])
    assert [(entry.method, entry.variant) for entry in entries] == [
        ("autoregressive", "published"),
        ("dytc", "published"),
    ]
    with pytest.raises(UnsupportedOption, match="unknown method 'magic'"):
        method_entries(target, methods=["magic"])


def test_another_profile_takes_part_with_what_it_decodes_with_in_each_mode(target: TargetModel) -> None:
    others = {"sample": {"suffix": 9.0}}
    cascades = {"count": TaskCascade(drafters=(), decision="retrieval-only", predicted_speedup={})}
    profile = tiny_profile(target, predicted_of_others=others, by_task=cascades)
    sampled, greedy = against_entries(target, profile)
    assert (sampled.method, sampled.modes, sampled.by_task) == ("suffix", ("sample",), {})
    assert (greedy.method, greedy.modes, set(greedy.by_task)) == ("dytc", ("greedy",), {"count"})
    assert {sampled.variant, greedy.variant} == {AGAINST}
    (both,) = against_entries(target, tiny_profile(target))
    assert set(both.modes) == {"sample", "greedy"}
    assert against_entries(target, LoadedProfile(None)) == []
