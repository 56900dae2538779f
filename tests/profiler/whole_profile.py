"""A whole profile of a tiny model, as several tests look at it."""

from __future__ import annotations

from dataclasses import dataclass, field

from casspec.profiler.design import Design, design
from casspec.profiler.profile import profile_latency
from casspec.runtime.model.target import TargetModel
from casspec.storage.schema import DeviceCeilings, DeviceFingerprint, LatencyModel, LatencySample

CEILINGS = DeviceCeilings(bandwidth_gb_per_s=20.0, matmul_tflops={"float32": 0.05}, launch_us=2.0)
BUDGET_SECONDS = 0.01
ROOMY: dict[str, object] = {"intermediate_size": 64}
"""Sizes that the 4-bit kernel of any processor takes."""


@dataclass
class Run:
    """What one profile saved."""

    plan: Design
    model: LatencyModel
    samples: list[LatencySample] = field(default_factory=list)
    retests: list[LatencySample] = field(default_factory=list)
    progress: list[tuple[int, int]] = field(default_factory=list)


def profile_of(
    target: TargetModel,
    device: DeviceFingerprint,
    known: list[LatencySample] = [],  # noqa: B006
    retested: list[LatencySample] = [],  # noqa: B006
) -> Run:
    samples: list[LatencySample] = []
    retests: list[LatencySample] = []
    progress: list[tuple[int, int]] = []
    model = profile_latency(
        target,
        device,
        known,
        samples.append,
        lambda done, total, note: progress.append((done, total)),
        BUDGET_SECONDS,
        stored_retests=retested,
        save_retest=retests.append,
    )
    return Run(design(target), model, samples, retests, progress)
