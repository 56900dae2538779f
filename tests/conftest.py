"""What holds for every test: one computing thread, no network, and never the user's own data."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

# Read by libraries when they are imported, and by subprocesses.
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MPLBACKEND"] = "Agg"

# A shell starts what it runs in the background with Ctrl-C ignored, and commands under test would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Time limits per example fail on a busy machine and say nothing about the code.
settings.register_profile("casspec", deadline=None)
settings.load_profile("casspec")


@pytest.fixture(scope="session", autouse=True)
def single_thread() -> None:
    """Two computing threads on a busy machine wait for each other far longer than a test takes."""
    try:
        import torch
    except ImportError:
        return
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def isolated_user_directories(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Points user directories at a temporary place and drops settings of the user's own."""
    home = tmp_path_factory.mktemp("user")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("DATA", "CACHE", "CONFIG", "STATE"):
            patch.setenv(f"XDG_{name}_HOME", str(home / name.lower()))
        for name in ("CASSPEC_STORAGE", "CASSPEC_DEBUG", "MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
            patch.delenv(name, raising=False)
        yield
