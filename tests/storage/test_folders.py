"""Where files lie, by each platform's custom and the user's own settings."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from casspec.storage.folders import user_cache_directory, user_data_directory


@pytest.fixture(params=["linux", "darwin", "win32"])
def platform(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Another system with `/home/someone` as home and nothing set."""
    monkeypatch.setattr(sys, "platform", request.param)
    monkeypatch.setattr(Path, "home", lambda: Path("/home/someone"))
    for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    return request.param


def test_each_platform_has_its_folders(platform: str) -> None:
    data, cache = {
        "linux": (".local/share/casspec", ".cache/casspec"),
        "darwin": ("Library/Application Support/casspec", "Library/Caches/casspec"),
        "win32": ("AppData/Local/casspec", "AppData/Local/casspec/Cache"),
    }[platform]
    assert user_data_directory() == Path("/home/someone", data)
    assert user_cache_directory() == Path("/home/someone", cache)


def test_a_cache_named_by_the_user_wins_on_every_platform(platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/fast")
    assert user_cache_directory() == Path("/fast/casspec")


@pytest.mark.parametrize("platform", ["linux"], indirect=True)
def test_data_named_by_the_user_wins_where_that_is_the_custom(platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/large")
    assert user_data_directory() == Path("/large/casspec")
