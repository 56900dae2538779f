"""Prompt lookup's settings, or the reason why a profile has none."""

from __future__ import annotations

import pytest

from casspec.storage.errors import UnsupportedOption
from casspec.storage.export import exporter
from casspec.storage.export.lookup_settings import LookupSettings, lost_drafters
from casspec.storage.schema import DrafterSpec, MethodSettings, SkipSet
from tests.storage import samples

SELF = DrafterSpec(name="sparse-40", kind="self", skip=SkipSet(attention=(2, 3, 5), mlp=(3,)))


@pytest.mark.parametrize("target", ["huggingface", "vllm"])
@pytest.mark.parametrize("changes", [{"decision": "off"}, {"drafters": (SELF,)}])
def test_a_profile_of_which_nothing_would_be_left_is_refused(target: str, changes: dict) -> None:
    with pytest.raises(UnsupportedOption, match="--to json"):
        exporter(target)(samples.profile(**changes))


def test_tuned_settings_come_before_the_drafters_and_these_before_the_published() -> None:
    lookup = DrafterSpec(name="prompt-lookup", kind="prompt-lookup", parameters={"max_ngram": 5, "n_tokens": 7})
    tuned = MethodSettings(method="prompt-lookup", variant="tuned", parameters={"n_tokens": 4})
    profile = samples.profile(drafters=(SELF, lookup), methods=(tuned,))
    assert LookupSettings.of(profile, "vLLM") == LookupSettings(max_ngram=5, min_ngram=1, n_tokens=4)
    assert LookupSettings.of(samples.profile(), "vLLM") == LookupSettings(max_ngram=3, min_ngram=1, n_tokens=10)


def test_drafters_that_are_lost_are_named_or_nothing_is_said() -> None:
    assert lost_drafters(samples.profile()) == "drafters sparse-40, "
    assert lost_drafters(samples.profile(drafters=())) == ""
