"""Timing and ceilings with CUDA events."""

from __future__ import annotations

import torch

from casspec.profiler.device import measure_ceilings
from casspec.profiler.timing import CudaTimer, timer_for
from casspec.runtime.loading.device import device_fingerprint

CUDA = torch.device("cuda", 0)


def test_events_wait_for_the_work_that_was_launched() -> None:
    timer = timer_for(CUDA)
    assert isinstance(timer, CudaTimer)
    small, large = (torch.randn(size, size, device=CUDA) for size in (256, 8192))
    for matrix in (small, large):
        timer.time_ms(lambda matrix=matrix: matrix @ matrix, 3)
    slow, fast = (min(timer.time_ms(lambda matrix=matrix: matrix @ matrix, 3)) for matrix in (large, small))
    assert slow > 10 * fast > 0


def test_ceilings_of_a_gpu_are_plausible() -> None:
    found = measure_ceilings(CUDA)
    assert 50 < found.bandwidth_gb_per_s < 20_000
    assert found.matmul_tflops["float16"] > found.matmul_tflops["float32"] > 0
    assert 0.5 < found.launch_us < 1000  # some microseconds, unless other processes use the device


def test_a_gpu_fingerprint_names_the_device_and_no_threads() -> None:
    found = device_fingerprint(CUDA)
    assert (found.kind, found.threads) == ("cuda", 0)
    assert found.name == torch.cuda.get_device_name(CUDA)
