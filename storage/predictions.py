"""What replay predicts of a cascade beyond its own figures: in batches, and for single tasks. Parts of a `CascadeProfile`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from casspec.storage.document import Document

Decision = Literal["cascade", "retrieval-only", "off"]
"""What to decode with: self-drafters over retrieval, retrieval alone, or nothing, since nothing is faster."""


class BatchPrediction(Document):
    """The cascade with several sequences decoded side by side, each drafting a tree of its own."""

    batch: int
    decision: Decision
    """The fastest of the cascade, retrieval alone and plain decoding at this batch."""
    speedup: dict[str, float]
    """By decoding mode, of the decision over plain decoding of the same batch."""
    latencies: Literal["measured", "interpolated", "extrapolated"] = "extrapolated"
    """Where the latencies of this batch come from."""
    verified: bool = False
    """Whether decoding at this batch exists, so that the prediction could be compared with it."""


class TaskCascade(Document):
    """The cascade of one task, kept where it is faster there than the one for all."""

    drafters: tuple[str, ...] = ()
    """Names of the profile's self-drafters in it."""
    parameters: dict[str, int | float | str | bool] = Field(default_factory=dict)
    """Of `dytc`."""
    decision: Decision
    predicted_speedup: dict[str, float]
    """By decoding mode, on the task's recordings of the tuning half."""
