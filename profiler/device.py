"""Ceilings of a device: what it reaches at best, so that latencies can be told as rooflines (Williams et al. 2009).

Measured, because data sheets say nothing of the threads, the memory and the kernels at hand. The best of several
repetitions counts: a ceiling is what nothing can exceed, and disturbances only ever slow things down.
"""

from __future__ import annotations

import torch

from casspec.profiler.timing import Call, Timer, timer_for
from casspec.storage.schema import DeviceCeilings

SECONDS_EACH = 0.25
"""Time given to each ceiling."""
BANDWIDTH_BYTES = {"cpu": 256 * 2**20, "cuda": 2**30}
"""Larger than any cache."""
LARGEST_MATRIX = {"cpu": 1024, "cuda": 8192}
SMALLEST_MATRIX = 256
ENOUGH_MS = 5.0
"""A product that takes this long shows its rate; a larger one could take minutes in a dtype without a kernel."""
LAUNCHES = 200
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


@torch.inference_mode()
def measure_ceilings(
    device: torch.device | str, dtypes: tuple[torch.dtype, ...] = DTYPES, timer: Timer | None = None
) -> DeviceCeilings:
    """Bandwidth of a large reduction, rate of a matrix product by dtype, time of a smallest kernel: two seconds."""
    device = torch.device(device)
    timer = timer or timer_for(device)
    return DeviceCeilings(
        bandwidth_gb_per_s=_bandwidth_gb_per_s(device, timer),
        matmul_tflops={str(dtype).removeprefix("torch."): _matmul_tflops(device, dtype, timer) for dtype in dtypes},
        launch_us=_launch_us(device, timer),
    )


def _best_ms(call: Call, timer: Timer) -> float:
    timer.time_ms(call, 1)
    best = float("inf")
    deadline = timer.now_s() + SECONDS_EACH
    while timer.now_s() < deadline or best == float("inf"):
        best = min(best, *timer.time_ms(call, 2))
    return best


def _bandwidth_gb_per_s(device: torch.device, timer: Timer) -> float:
    n_bytes = BANDWIDTH_BYTES[device.type]
    data = torch.ones(n_bytes // 4, dtype=torch.float32, device=device)
    return n_bytes / 1e6 / _best_ms(data.sum, timer)


def _matmul_tflops(device: torch.device, dtype: torch.dtype, timer: Timer) -> float:
    size = SMALLEST_MATRIX
    while True:
        left = torch.randn(size, size, device=device).to(dtype)
        right = torch.randn(size, size, device=device).to(dtype)

        def product(left: torch.Tensor = left, right: torch.Tensor = right) -> torch.Tensor:
            return left @ right.T

        first_ms = min(timer.time_ms(product, 2))
        if size >= LARGEST_MATRIX[device.type] or first_ms > ENOUGH_MS:
            return 2.0 * size**3 / 1e9 / _best_ms(product, timer)
        size *= 2


def _launch_us(device: torch.device, timer: Timer) -> float:
    scalar = torch.zeros(1, device=device)

    def launches() -> None:
        for _ in range(LAUNCHES):
            scalar.add_(1.0)

    return _best_ms(launches, timer) / LAUNCHES * 1e3
