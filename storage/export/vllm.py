"""vLLM: the JSON of `--speculative-config`, method `ngram`."""

from __future__ import annotations

import json

from casspec.storage.export.exported import Exported
from casspec.storage.export.lookup_settings import LookupSettings, lost_drafters
from casspec.storage.schema import CascadeProfile

WRITTEN_FOR = "0.33"


def export(profile: CascadeProfile) -> Exported:
    """Partial: vLLM has neither layer-skipping nor quantised plans of the model. Raises UnsupportedOption as LookupSettings does."""
    lookup = LookupSettings.of(profile, "vLLM")
    config = {
        "method": "ngram",
        "num_speculative_tokens": lookup.n_tokens,
        "prompt_lookup_min": lookup.min_ngram,
        "prompt_lookup_max": lookup.max_ngram,
    }
    note = (
        f'for vLLM {WRITTEN_FOR}, translated: vllm serve MODEL --speculative-config "$(cat FILE)". Lost: {lost_drafters(profile)}'
        "candidate trees, and the choice of draft length at every step; "
        "the predicted speedup of this profile does not hold there. `casspec engine tune vllm MODEL` measures vLLM itself."
    )
    return Exported(json.dumps(config) + "\n", "partial", note)
