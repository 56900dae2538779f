"""Python's indexing, copies and reads make a tensor's device the current one first. torch built without CUDA has nothing that does so for
"cuda", and fails before an operator is reached. A fake device needs nothing done, so it borrows from "meta", where nothing is done.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

CUDA, META = 1, 14
"""Of c10/core/DeviceType.h."""


@contextmanager
def cuda_can_be_current() -> Iterator[None]:
    """For as long as it lasts, "cuda" may be the current device of a torch that was built without it."""
    (path,) = Path(torch.__file__).parent.glob("lib/libc10.*")
    library = ctypes.CDLL(str(path))
    slots = (ctypes.c_void_p * (META + 1)).in_dll(library, "_ZN3c104impl26device_guard_impl_registryE")
    if slots[CUDA]:
        yield
        return
    put = library._ZN3c104impl24DeviceGuardImplRegistrarC1ENS_10DeviceTypeEPKNS0_24DeviceGuardImplInterfaceE
    put.argtypes, put.restype, registrar = (ctypes.c_void_p, ctypes.c_int8, ctypes.c_void_p), None, ctypes.c_char()
    put(ctypes.byref(registrar), CUDA, slots[META])
    try:
        yield
    finally:
        put(ctypes.byref(registrar), CUDA, None)
