"""transformers: a `generation_config.json` with prompt lookup; the whole cascade rides on `custom_generate`."""

from __future__ import annotations

import json

from casspec.storage.export.exported import Exported
from casspec.storage.export.lookup_settings import LookupSettings, lost_drafters
from casspec.storage.schema import CascadeProfile

WRITTEN_FOR = "5.17.0"
"""Release of transformers whose GenerationConfig these fields belong to."""


def export(profile: CascadeProfile) -> Exported:
    """Partial: a generation configuration knows prompt lookup only. Raises UnsupportedOption as LookupSettings does."""
    lookup = LookupSettings.of(profile, "transformers")
    config = {
        "prompt_lookup_num_tokens": lookup.n_tokens,
        "max_matching_ngram_size": lookup.max_ngram,
        "transformers_version": WRITTEN_FOR,
    }
    note = (
        f"generation_config.json for transformers {WRITTEN_FOR} and later, batch size 1. Lost: "
        f"{lost_drafters(profile)}the choice of draft length at every step, the shortest n-gram ({lookup.min_ngram}).\n"
        "The whole cascade runs inside transformers without this file:\n"
        f'    profile = casspec.load_profile("{profile.profile_id}")\n'
        "    model.generate(**inputs, custom_generate=casspec.custom_generate(profile))"
    )
    return Exported(json.dumps(config, indent=2) + "\n", "partial", note)
