"""The one drafter that other engines share: prompt lookup, as this profile runs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from casspec.storage.errors import UnsupportedOption
from casspec.storage.schema import CascadeProfile

METHOD = "prompt-lookup"
PUBLISHED_LOOKUP = {"max_ngram": 3, "min_ngram": 1, "n_tokens": 10}
"""Settings of the published method, for what a profile doesn't say."""


@dataclass(frozen=True, slots=True)
class LookupSettings:
    """Longest and shortest n-gram matched, and how many tokens are copied after a match."""

    max_ngram: int
    min_ngram: int
    n_tokens: int

    @classmethod
    def of(cls, profile: CascadeProfile, engine: str) -> Self:
        """The profile's tuned settings, then its drafter's, then the published ones.

        Raises UnsupportedOption when the profile advises against drafting, or its cascade has no prompt lookup.
        """
        if profile.decision == "off":
            raise UnsupportedOption(
                f"profile {profile.profile_id} found no method faster than plain decoding, so there is nothing to "
                f"set up in {engine}: export it with --to json, or calibrate another suite or device"
            )
        drafters = [drafter for drafter in profile.drafters if drafter.kind == METHOD]
        if not drafters:
            raise UnsupportedOption(
                f"the cascade of profile {profile.profile_id} has no prompt lookup, the only drafter of it that "
                f"{engine} could run: export it with --to json"
            )
        found = PUBLISHED_LOOKUP | dict(drafters[0].parameters) | profile.settings(METHOD)
        return cls(*(int(found[name]) for name in ("max_ngram", "min_ngram", "n_tokens")))


def lost_drafters(profile: CascadeProfile) -> str:
    """The drafters an engine with prompt lookup only leaves out, as words for a note."""
    names = [drafter.name for drafter in profile.drafters if drafter.kind != METHOD]
    return f"drafters {', '.join(names)}, " if names else ""
