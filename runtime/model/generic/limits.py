"""How long a text a model can go on with."""

from __future__ import annotations

from typing import Any

FIELDS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "max_sequence_length", "seq_length")
"""Names that configs have for it."""

UNBOUNDED = 4096
"""For a model that sets no limit."""


def context_limit(config: Any) -> int:
    """Most tokens of a text, prompt included.

    Frequencies of `longrope` change once a text is longer than the model's first training had them: what was cached is then of other
    frequencies than what comes. So such a model ends where they would change.
    """
    found = [value for name in FIELDS if isinstance(value := getattr(config, name, None), int)]
    limit = found[0] if found else UNBOUNDED
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = [rope, *(value for value in rope.values() if isinstance(value, dict))]
    if any(kind.get("rope_type") == "longrope" for kind in kinds):
        originals = [kind.get("original_max_position_embeddings") for kind in kinds]
        originals.append(getattr(config, "original_max_position_embeddings", None))
        limit = min([limit, *(original for original in originals if isinstance(original, int))])
    return limit
