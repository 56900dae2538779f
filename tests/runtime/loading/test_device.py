"""What identifies a device, told with and without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from casspec.runtime.loading import device
from casspec.runtime.loading.device import device_fingerprint

CPU_INFO = """processor : 0
model name : Some Processor 9000
flags : fpu avx2 amx_bf16 avx512_bf16

processor : 1
model name : Another one
"""

WITHOUT_TORCH = """
import sys
from casspec.runtime.loading.device import device_fingerprint
print(device_fingerprint("cpu", {threads}).model_dump_json(), "torch" in sys.modules)
"""


def test_threads_are_part_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    here = device_fingerprint("cpu")
    monkeypatch.setattr(torch, "get_num_threads", lambda: here.threads + 1)
    assert here.kind == "cpu"
    assert here.name
    assert here.capability
    assert device_fingerprint("cpu").content_hash() != here.content_hash()
    assert device_fingerprint("cpu", here.threads) == here


def test_a_processor_is_told_as_well_without_importing_torch() -> None:
    here = device_fingerprint("cpu")
    code = WITHOUT_TORCH.format(threads=here.threads)
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.split() == f"{here.model_dump_json()} False".split()
    assert here.torch_version == torch.__version__


def test_processor_and_vector_features_are_read_from_the_first_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(CPU_INFO)
    monkeypatch.setattr(device, "CPU_INFO", tmp_path / "cpuinfo")
    found = device_fingerprint("cpu")
    assert (found.name, found.capability) == ("Some Processor 9000", "avx2 avx512_bf16 amx_bf16")


def test_a_system_without_processor_list_still_has_a_fingerprint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "CPU_INFO", tmp_path / "missing")
    found = device_fingerprint("cpu")
    assert found.name
    assert found.capability == torch.backends.cpu.get_cpu_capability()
