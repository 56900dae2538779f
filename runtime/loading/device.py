"""Which device this is, and whether a profile made on one serves on another. Nothing here is timed; ceilings are measured elsewhere.

A CPU is described without importing torch, which takes longer than everything else an answer from the store needs.
"""

from __future__ import annotations

import platform
import runpy
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from casspec.storage.schema import DeviceFingerprint

if TYPE_CHECKING:
    import torch

CPU_FEATURES = (
    "avx2",
    "avx_vnni",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_bf16",
    "amx_int8",
    "asimd",
    "asimddp",
    "bf16",
    "i8mm",
    "sve",
)
"""Vector features that decide which matrix kernels run, x86 and Arm, as Linux names them."""

CPU_INFO = Path("/proc/cpuinfo")


def device_fingerprint(device: torch.device | str, threads: int | None = None) -> DeviceFingerprint:
    """Identity of the hardware and torch build, without ceilings.

    Args:
        threads: what torch computes with on a CPU, part of its identity; None asks torch.
    """
    if str(device).startswith("cuda"):
        return _cuda(device)
    name, features = _processor()
    return DeviceFingerprint(
        kind="cpu",
        name=name,
        capability=" ".join(features) or _widest_vectors(),
        threads=threads or _threads(),
        torch_version=_torch_version(),
    )


def kernel_difference(calibrated: DeviceFingerprint, here: DeviceFingerprint) -> str | None:
    """In what two devices differ so that other kernels run on them; None where the same ones do.

    The kind counts, and the capability: instruction sets of a CPU in any order, the SM version of a GPU. A name says less, for one
    may span generations; it decides where either capability is unknown.
    """
    theirs, ours = set(calibrated.capability.split()), set(here.capability.split())
    unknown = not (theirs and ours)
    if calibrated.kind != here.kind or (unknown and calibrated.name != here.name):
        return f"on {calibrated.name} ({calibrated.kind}), this is {here.name} ({here.kind})"
    if unknown or theirs == ours:
        return None
    if here.kind == "cuda":
        return f"for compute capability {calibrated.capability}, {here.name} has {here.capability}"
    parts = {"without": theirs - ours, "with": ours - theirs}
    differing = " and ".join(f"{word} {', '.join(sorted(names))}" for word, names in parts.items() if names)
    return f"on {calibrated.name}, this is {here.name} {differing}"


def speed_difference(calibrated: DeviceFingerprint, here: DeviceFingerprint) -> str | None:
    """In what two devices that run the same kernels differ: name, memory or threads; None where in nothing of these."""
    pairs = (
        (calibrated.name, here.name),
        (_memory(calibrated), _memory(here)),
        (_told_threads(calibrated), _told_threads(here)),
    )
    differing = [(there, now) for there, now in pairs if there and now and there != now]
    if not differing:
        return None
    return f"on {', '.join(there for there, _ in differing)}, this is {', '.join(now for _, now in differing)}"


def _memory(device: DeviceFingerprint) -> str:
    return "" if device.memory_class is None else f"{device.memory_class} GiB"


def _told_threads(device: DeviceFingerprint) -> str:
    return f"{device.threads} threads" if device.threads else ""


def _cuda(device: torch.device | str) -> DeviceFingerprint:
    import torch

    major, minor = torch.cuda.get_device_capability(device)
    return DeviceFingerprint(
        kind="cuda",
        name=torch.cuda.get_device_name(device),
        capability=f"{major}.{minor}",
        threads=0,
        torch_version=torch.__version__,
        memory_class=round(torch.cuda.get_device_properties(device).total_memory / 2**30),
    )


def _threads() -> int:
    import torch

    return torch.get_num_threads()


def _widest_vectors() -> str:
    import torch

    return torch.backends.cpu.get_cpu_capability()


def _torch_version() -> str:
    """`torch.__version__`, from its own small file while torch is not imported."""
    found = None if "torch" in sys.modules else find_spec("torch")
    if found is not None and found.origin is not None:
        file = Path(found.origin).with_name("version.py")
        if file.is_file():
            return str(runpy.run_path(str(file))["__version__"])
    import torch

    return torch.__version__


def _processor() -> tuple[str, list[str]]:
    """Name of the first processor and which of CPU_FEATURES it has ([] where the system does not tell)."""
    fields = _first_processor_entry() if CPU_INFO.exists() else {}
    flags = (fields.get("flags") or fields.get("Features") or "").split()
    name = fields.get("model name") or platform.processor() or platform.machine()
    return name, [feature for feature in CPU_FEATURES if feature in flags]


def _first_processor_entry() -> dict[str, str]:
    fields = {}
    with CPU_INFO.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if not line.strip():
                break
            key, _, value = line.partition(":")
            fields[key.strip()] = value.strip()
    return fields
