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
        api_keys: open as tokens of role `admin` do. is_local: whether only this machine reaches it; without that a token is always needed.
        max_request_bytes: of a body, a suite included. max_streams: events that are followed at a time. poll_s: how often a stream looks.
        max_rate: requests a second of one token, or of one address without. max_queued: jobs that wait.
        drift: when it leads to a re-calibration; None for never.
    """

    allowed: AllowedModels = field(default_factory=AllowedModels)
    api_keys: tuple[str, ...] = ()
    max_request_bytes: int = 8 * MIB
    max_streams: int = 64
    poll_s: float = 1.0
    is_local: bool = True
    max_rate: float = 100.0
    max_queued: int = 10_000
    drift: DriftSettings | None = None
