"""What the kernels need to know of this processor, and whether they can run on it."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec


@cache
def features() -> frozenset[str]:
    """LLVM's names of what numba compiles for: all that the processor can do, or less where NUMBA_CPU_FEATURES says so.

    Code for a feature that numba leaves out would end the process. Empty without numba.
    """
    if find_spec("numba") is None:
        return frozenset()
    from numba.core import codegen, config

    wanted = codegen.get_host_cpu_features() if config.CPU_FEATURES is None else config.CPU_FEATURES
    return frozenset(name[1:] for name in wanted.split(",") if name.startswith("+"))


@cache
def refusal() -> str | None:
    """Why the native forward cannot run here, in one line; None when it can."""
    if find_spec("numba") is None:
        return "numba is not installed"
    from numba.core import config

    if config.DISABLE_JIT:
        return "NUMBA_DISABLE_JIT is set"
    if not features() & {"fma", "neon"}:
        return "this processor has no fused multiply-add"
    from casspec.runtime.native import threads

    return None if threads.library() else "torch does not run its threads by GNU OpenMP here"


def lanes() -> int:
    """float32 numbers in a vector."""
    return 16 if "avx512f" in features() else 8


def has_wide_registers() -> bool:
    """Whether 24 vectors of sums fit into the registers; 12 do otherwise."""
    return "avx512f" in features()


def has_byte_products() -> bool:
    """Whether four products of bytes are summed in one instruction (AVX512-VNNI)."""
    return "avx512vnni" in features()
