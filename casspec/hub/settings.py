"""What a hub is started with."""

from __future__ import annotations

from dataclasses import dataclass, field

from casspec.hub.allowed import AllowedModels
from casspec.hub.reports.drift_settings import DriftSettings

MIB = 1 << 20


@dataclass(frozen=True)
class HubSettings:
    """Of one hub.

    Attributes:
        api_keys: one of which requests have to bring; without any only this machine is answered.
        max_request_bytes: of a body, a suite included. max_streams: events that are followed at a time. poll_s: how often a stream looks.
        drift: when it leads to a re-calibration; None for never.
    """

    allowed: AllowedModels = field(default_factory=AllowedModels)
    api_keys: tuple[str, ...] = ()
    max_request_bytes: int = 8 * MIB
    max_streams: int = 64
    poll_s: float = 1.0
    drift: DriftSettings | None = None
