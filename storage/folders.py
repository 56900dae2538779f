"""Where casspec keeps files on this machine, by each platform's custom."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def user_data_directory() -> Path:
    """The platform's folder for data an application keeps: XDG_DATA_HOME or ~/.local/share on Linux."""
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return base / "casspec"


def user_cache_directory() -> Path:
    """For what can be made again: XDG_CACHE_HOME, else the platform's custom, in a folder of its own."""
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "casspec"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "casspec"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "casspec" / "Cache"
    return Path.home() / ".cache" / "casspec"
