"""What identifies a device, told with and without torch."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from casspec.runtime.loading import device
from casspec.runtime.loading.device import device_fingerprint, kernel_difference, speed_difference
from casspec.storage.schema import DeviceFingerprint
from tests.storage import samples

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


def cpu(**changes) -> DeviceFingerprint:
    return samples.device(**{"name": "EPYC", "capability": "avx2 avx512f amx_int8"} | changes)


def gpu(**changes) -> DeviceFingerprint:
    fields = {"kind": "cuda", "name": "H100", "capability": "9.0", "threads": 0, "memory_class": 80}
    return samples.device(**fields | changes)


@pytest.mark.parametrize(
    ("calibrated", "here", "told"),
    [
        (gpu(), cpu(), r"on H100 \(cuda\), this is EPYC \(cpu\)"),
        (cpu(), cpu(capability="avx2 sve"), "EPYC without amx_int8, avx512f and with sve"),
        (cpu(), cpu(capability="avx2 avx512f amx_int8 amx_bf16"), "EPYC with amx_bf16"),
        (gpu(), gpu(capability="8.0"), "capability 9.0, H100 has 8.0"),
        (cpu(capability=""), cpu(name="Xeon"), r"EPYC \(cpu\), this is Xeon"),
    ],
    ids=["kind", "instruction sets", "one set more", "SM version", "an unknown capability goes by the name"],
)
def test_other_kernels_are_a_refusal_that_names_them(calibrated, here, told: str) -> None:
    difference = kernel_difference(calibrated, here)
    assert difference is not None
    assert re.search(told, difference)
    assert "\n" not in difference


@pytest.mark.parametrize(
    ("calibrated", "here", "told"),
    [
        (cpu(), cpu(), None),
        (cpu(), cpu(torch_version="99"), None),
        (cpu(capability="amx_int8 avx2 avx512f"), cpu(), None),
        (cpu(capability=""), cpu(), None),
        (cpu(), cpu(name="Xeon"), "on EPYC, this is Xeon"),
        (cpu(), cpu(threads=7), "on 2 threads, this is 7 threads"),
        (gpu(), gpu(memory_class=141, name="H200"), "on H100, 80 GiB, this is H200, 141 GiB"),
        (gpu(memory_class=None), gpu(), None),
    ],
)
def test_what_changes_speed_alone_is_told_and_no_refusal(calibrated, here, told: str | None) -> None:
    assert kernel_difference(calibrated, here) is None
    assert speed_difference(calibrated, here) == told


def test_a_calibration_is_one_of_one_exact_device() -> None:
    devices = [cpu(), cpu(threads=7), gpu(), gpu(capability="8.0"), gpu(name="H200")]
    assert len({device.content_hash() for device in devices}) == len(devices)


def test_a_gpu_has_a_memory_class_and_a_processor_none(monkeypatch: pytest.MonkeyPatch) -> None:
    properties = SimpleNamespace(total_memory=int(79.6 * 2**30))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "H100")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    assert device_fingerprint("cuda").memory_class == 80
    assert device_fingerprint("cpu").memory_class is None
