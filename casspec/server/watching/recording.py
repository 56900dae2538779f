"""Requests for the file that traffic is recorded to: each that was answered whole, a row for each of its prompts."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from casspec.runtime.watch.traffic import RecordedRequest
from casspec.server.replies import Reply


def recorded(given: Sequence[Mapping[str, Any]], options: Mapping[str, Any], reply: Reply) -> list[RecordedRequest]:
    """Of a reply that is over.

    Args:
        given: `messages` or `prompt` of each of its prompts; its texts are theirs in their order, as many of each.
        options: as the client sent them.
    """
    if not reply.is_whole or not given:
        return []
    arrived_at, n_each = time.time() - reply.age_s, len(reply.told) // len(given)
    return [
        RecordedRequest(
            arrived_at, sum(told.n_tokens for told in reply.told[place * n_each :][:n_each]), options=options, **one
        )
        for place, one in enumerate(given)
    ]
