"""What was seen of a profile while it was served: small sums, beside what the profile says. Summaries of two times or servers add up."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Annotated, Literal, Self, TypeVar

from pydantic import Field

from casspec.storage.document import Document, VersionedDocument
from casspec.storage.errors import ProfileMismatch


class WatchedDrafter(Document):
    """A drafter's proposals in texts of one decoding mode, as far as the target's token came to be known beside them."""

    mode: Annotated[Literal["greedy", "sample"], Field(description="decoding mode")]
    drafter: str
    calibrated: float
    """Share that is right by the profile."""
    texts: int = 0
    trials: int = 0
    right: int = 0
    squares: float = 0.0
    """Sum over texts of (right - calibrated * trials) squared: how much texts differ."""

    def plus(self, other: Self) -> Self:
        """Both together."""
        return self.model_copy(
            update={
                "texts": self.texts + other.texts,
                "trials": self.trials + other.trials,
                "right": self.right + other.right,
                "squares": self.squares + other.squares,
            }
        )


class WatchedPlan(Document):
    """Forwards of a plan."""

    plan: str
    forwards: int = 0
    predicted_ms: float = 0.0
    measured_ms: float = 0.0

    def plus(self, other: Self) -> Self:
        """Both together."""
        return self.model_copy(
            update={
                "forwards": self.forwards + other.forwards,
                "predicted_ms": self.predicted_ms + other.predicted_ms,
                "measured_ms": self.measured_ms + other.measured_ms,
            }
        )


class WatchSummary(VersionedDocument):
    """Of one profile, from `began_at` to `ended_at` (UTC, ISO 8601)."""

    not_hashed = VersionedDocument.not_hashed | {"began_at", "ended_at"}

    profile_id: str
    began_at: str
    ended_at: str
    tokens: int = 0
    """Emitted."""
    drafters: tuple[WatchedDrafter, ...] = ()
    plans: tuple[WatchedPlan, ...] = ()

    def plus(self, other: WatchSummary) -> WatchSummary:
        """Both together, in this release's schema. Raises ProfileMismatch where they are of two profiles."""
        if self.profile_id != other.profile_id:
            raise ProfileMismatch(
                f"one summary is of profile {self.profile_id}, the other of {other.profile_id}: add up those of one profile"
            )
        return WatchSummary(
            profile_id=self.profile_id,
            began_at=min(self.began_at, other.began_at),
            ended_at=max(self.ended_at, other.ended_at),
            tokens=self.tokens + other.tokens,
            drafters=_joined((*self.drafters, *other.drafters), lambda each: (each.mode, each.drafter)),
            plans=_joined((*self.plans, *other.plans), lambda each: each.plan),
        )


Part = TypeVar("Part", WatchedDrafter, WatchedPlan)


def _joined(parts: Iterable[Part], key: Callable[[Part], Hashable]) -> tuple[Part, ...]:
    """Those of one key added up, in order of first appearance."""
    found: dict[Hashable, Part] = {}
    for part in parts:
        before = found.get(key(part))
        found[key(part)] = part if before is None else before.plus(part)
    return tuple(found.values())
