"""What replay predicts of a cascade beyond its own figures: in batches, and for single tasks. Parts of a `CascadeProfile`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from casspec.storage.document import Document

Decision = Literal["cascade", "retrieval-only", "off"]
"""What to decode with: self-drafters over retrieval, retrieval alone, or nothing, since nothing is faster."""


Speedups = dict[str, dict[str, float]]
"""By decoding mode and method."""

LEAST_LEAD = 1.02
"""Times faster a method must be predicted than the cascade to be taken in its place: less is within what predictions are known to."""


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
    """Of the cascade alone: whether a benchmark of single texts is what it is compared with. What a benchmark measured of a batch is in
    its report (`BenchReport.batches`)."""
    tokens_per_s: dict[str, float] = Field(default_factory=dict)
    """By decoding mode, of the decision, all sequences together; {} in profiles of schema 1.2 and before."""
    context_tokens: int = 0
    """Committed rows of each sequence that `tokens_per_s` is of."""


class TaskCascade(Document):
    """The cascade of one task, kept where it is faster there than the one for all."""

    drafters: tuple[str, ...] = ()
    """Names of the profile's self-drafters in it."""
    parameters: dict[str, int | float | str | bool] = Field(default_factory=dict)
    """Of `dytc`."""
    decision: Decision
    predicted_speedup: dict[str, float]
    """By decoding mode, on the task's recordings of the tuning half."""
    predicted_of_others: Speedups = Field(default_factory=dict)
    """Of plainer methods as tuned, on the same recordings."""
