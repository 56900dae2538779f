"""When drift leads to a re-calibration."""

from __future__ import annotations

from dataclasses import dataclass

DAY_S = 86_400.0


@dataclass(frozen=True)
class DriftSettings:
    """Of one hub.

    Attributes:
        least_interval_s: between the beginnings of two re-calibrations of one model on one kind of device.
        least_reports: in a row of each server, of all servers of a profile together, that say drift.
    """

    least_interval_s: float = DAY_S
    least_reports: int = 3
