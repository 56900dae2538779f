"""The speculative config for vLLM."""

from __future__ import annotations

import json

from casspec.storage.export import exporter
from casspec.storage.schema import DrafterSpec, MethodSettings, SkipSet
from tests.storage import samples

SELF = DrafterSpec(name="sparse-40", kind="self", skip=SkipSet(attention=(2, 3, 5), mlp=(3,)))
LOOKUP = DrafterSpec(name="prompt-lookup", kind="prompt-lookup", parameters={"max_ngram": 5, "n_tokens": 7})


def test_vllm_gets_the_lookup_settings_tuned_first_then_the_drafter_s_own() -> None:
    tuned = MethodSettings(method="prompt-lookup", variant="tuned", parameters={"n_tokens": 6, "most_recent": True})
    profile = samples.profile(drafters=(SELF, LOOKUP), methods=(tuned,))
    assert json.loads(exporter("vllm")(profile).text) == {
        "method": "ngram",
        "num_speculative_tokens": 6,
        "prompt_lookup_min": 1,
        "prompt_lookup_max": 5,
    }
