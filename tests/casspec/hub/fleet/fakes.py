"""Clusters in the place of Ray."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from casspec.hub.fleet.documents import HostSettings, Outcome, Placement
from casspec.hub.fleet.placer import Devices, Ended
from casspec.storage.errors import FleetError

HOST = HostSettings(storage="sqlite:////nowhere.db")


@dataclass
class FakeClock:
    seconds: float = 0.0

    def __call__(self) -> float:
        return self.seconds


@dataclass
class FakeCluster:
    """Places what it is given under numbers, and ends what a test says."""

    kinds: dict[str, Devices] = field(default_factory=lambda: {"cpu": Devices(1, False)})
    placed: dict[int, Placement] = field(default_factory=dict)
    over: list[Ended] = field(default_factory=list)
    interrupted: list[int] = field(default_factory=list)
    is_away: bool = False

    def devices(self) -> Mapping[str, Devices]:
        if self.is_away:
            raise FleetError("Ray is away")
        return self.kinds

    def place(self, document: str, kind: str, on_gpu: bool) -> int:
        placement = Placement.model_validate_json(document)
        assert (placement.kind, placement.device) == (kind, "cuda" if on_gpu else "cpu")
        self.placed[len(self.placed)] = placement
        return len(self.placed) - 1

    def ended(self, handles: Sequence[int]) -> list[Ended]:
        over = [each for each in self.over if each.handle in handles]
        self.over = []
        return over

    def interrupt(self, handles: Sequence[int]) -> None:
        self.interrupted += handles

    def end(self, handle: int, outcome: Outcome) -> None:
        self.over.append(Ended(handle, outcome.canonical_json()))
