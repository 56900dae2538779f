"""Which device this is: what a profile pins and the loader compares. Nothing here is timed; ceilings are measured elsewhere.

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


def _cuda(device: torch.device | str) -> DeviceFingerprint:
    import torch

    major, minor = torch.cuda.get_device_capability(device)
    return DeviceFingerprint(
        kind="cuda",
        name=torch.cuda.get_device_name(device),
        capability=f"{major}.{minor}",
        threads=0,
        torch_version=torch.__version__,
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
