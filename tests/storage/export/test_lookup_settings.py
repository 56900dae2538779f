"""Prompt lookup's settings, or the reason why a profile has none."""

from __future__ import annotations

import pytest

from casspec.storage.errors import UnsupportedOption
from casspec.storage.export import exporter
from casspec.storage.schema import DrafterSpec, SkipSet
from tests.storage import samples

SELF = DrafterSpec(name="sparse-40", kind="self", skip=SkipSet(attention=(2, 3, 5), mlp=(3,)))


@pytest.mark.parametrize("target", ["huggingface", "vllm"])
@pytest.mark.parametrize("changes", [{"decision": "off"}, {"drafters": (SELF,)}])
def test_a_profile_of_which_nothing_would_be_left_is_refused(target: str, changes: dict) -> None:
    with pytest.raises(UnsupportedOption, match="--to json"):
        exporter(target)(samples.profile(**changes))
