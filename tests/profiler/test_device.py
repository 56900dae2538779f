"""The ceilings of a device: bytes, operations and launches over time."""

from __future__ import annotations

import pytest
import torch

from casspec.profiler import device


class SteadyTimer:
    """Every call takes `ms`, whatever it does."""

    def __init__(self, ms: float) -> None:
        self._ms = ms
        self._seconds = 0.0

    def time_ms(self, call: object, repeats: int) -> list[float]:
        self._seconds += repeats * self._ms / 1e3
        return [self._ms] * repeats

    def now_s(self) -> float:
        return self._seconds


def test_ceilings_are_bytes_operations_and_launches_over_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(device.BANDWIDTH_BYTES, "cpu", 4_000_000)
    monkeypatch.setitem(device.LARGEST_MATRIX, "cpu", 512)
    found = device.measure_ceilings("cpu", (torch.float32,), SteadyTimer(2.0))
    assert found.bandwidth_gb_per_s == pytest.approx(2.0)
    assert found.matmul_tflops == {"float32": pytest.approx(2 * 512**3 / 2e-3 / 1e12)}
    assert found.launch_us == pytest.approx(2000.0 / device.LAUNCHES)


def test_a_dtype_without_a_fast_kernel_is_not_given_a_large_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(device.BANDWIDTH_BYTES, "cpu", 4_000_000)
    found = device.measure_ceilings("cpu", (torch.float16,), SteadyTimer(device.ENOUGH_MS * 2))
    smallest = 2 * device.SMALLEST_MATRIX**3 / (device.ENOUGH_MS * 2 / 1e3) / 1e12
    assert found.matmul_tflops == {"float16": pytest.approx(smallest)}


def test_real_ceilings_are_positive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "SECONDS_EACH", 0.01)
    monkeypatch.setitem(device.BANDWIDTH_BYTES, "cpu", 2**22)
    monkeypatch.setitem(device.LARGEST_MATRIX, "cpu", 256)
    found = device.measure_ceilings("cpu", (torch.float32, torch.bfloat16))
    assert min(found.bandwidth_gb_per_s, found.launch_us, *found.matmul_tflops.values()) > 0
    assert set(found.matmul_tflops) == {"float32", "bfloat16"}
