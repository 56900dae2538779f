"""What a loaded profile makes the cascade do: for all tasks, for one of them, and where nothing pays."""

from __future__ import annotations

import pytest

from casspec.runtime.decode import Decoder
from casspec.runtime.loading.profiles import LoadedProfile, cascade_of
from casspec.runtime.policies import build_policy
from casspec.runtime.policies.autoregressive import Autoregressive
from casspec.runtime.policies.dytc import DyTC
from casspec.storage.schema import CascadeProfile, TaskCascade
from tests.runtime.tiny import repetitive_prompt, tiny_profile, tiny_target

OWN = TaskCascade(
    drafters=("lighter",),
    parameters={"max_nodes": 12, "start_speedup": 1.0},
    decision="cascade",
    predicted_speedup={"greedy": 2.5, "sample": 2.0},
)


@pytest.fixture(scope="module")
def target():
    return tiny_target(seed=7)


def members(profile: CascadeProfile) -> set[str]:
    return {spec.name for spec in profile.drafters if spec.kind == "self" and spec.parameters.get("cascade", True)}


def test_a_task_has_its_own_cascade_or_the_one_for_all(target) -> None:
    profile = tiny_profile(target, by_task={"docstring": OWN}).document
    own = cascade_of(profile, "docstring")
    assert members(own) == {"lighter"} < members(profile)
    assert own.settings("dytc") == OWN.parameters
    assert own.predicted_speedup == OWN.predicted_speedup
    assert cascade_of(profile, None) == cascade_of(profile, "tests") == profile


def test_the_task_changes_what_drafts_and_not_the_text(target) -> None:
    loaded = tiny_profile(target, by_task={"docstring": OWN})
    prompt = repetitive_prompt(40, seed=2)
    texts, drafted = [], []
    for task in (None, "docstring"):
        chosen = LoadedProfile(loaded.document, loaded.recycling_matrix, task)
        generation = Decoder(target, chosen).generate(prompt, 48)
        texts.append(generation.token_ids)
        drafted.append(set(generation.statistics.drafted_by))
    assert texts[0] == texts[1]
    assert "light" in drafted[0]
    assert "light" not in drafted[1]


def test_a_task_with_its_own_cascade_has_rivals_of_its_own(target) -> None:
    profile = tiny_profile(
        target,
        predicted_speedup={"greedy": 1.5},
        predicted_of_others={"greedy": {"prompt-lookup": 1.6}},
        by_task={"docstring": OWN},
    ).document
    assert profile.fastest("greedy") == "prompt-lookup"
    assert cascade_of(profile, "docstring").fastest("greedy") == "dytc"


def test_where_nothing_pays_the_cascade_decodes_plainly_unless_it_is_insisted_on(target) -> None:
    loaded = tiny_profile(target, decision="off")
    generation = Decoder(target, loaded).generate(repetitive_prompt(40, seed=2), 24)
    assert generation.statistics.drafted_tokens == 0
    assert isinstance(build_policy("dytc", target, loaded.document, "greedy"), Autoregressive)
    assert isinstance(build_policy("dytc", target, loaded.document, "greedy", {"max_nodes": 8}), DyTC)
