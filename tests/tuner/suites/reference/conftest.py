"""The committed list, and what stands in for the model that judges candidates of a new one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from casspec.tuner.suites.reference import build
from casspec.tuner.suites.reference import suite_list as suite_list_file
from casspec.tuner.suites.reference.suite_list import SuiteList, committed_list


@pytest.fixture(scope="module")
def committed() -> SuiteList:
    suite_list = committed_list()
    assert suite_list is not None
    return suite_list


@pytest.fixture
def listed_python() -> None:
    """Skips a test of the committed list where the library is another one."""
    if sys.version_info[:2] != (3, 11):
        pytest.skip("the committed list is for Python 3.11")


@pytest.fixture(autouse=True)
def _fresh_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    suite_list_file.module_text.cache_clear()
    yield
    suite_list_file.module_text.cache_clear()


class FakeFilter:
    """Passes one candidate in three; a token is four characters."""

    judged = 0

    def __init__(self, continuation_tokens: int, max_repetition: float):
        pass

    def token_ids(self, text: str) -> list[int]:
        return list(text[::4].encode())

    def judge(self, prompts: list[list[int]]) -> list[float | None]:
        FakeFilter.judged += len(prompts)
        return [0.1 if sum(ids) % 3 == 0 else None for ids in prompts]


@pytest.fixture
def fake_filter(monkeypatch: pytest.MonkeyPatch) -> type[FakeFilter]:
    """Judges in place of the model."""
    monkeypatch.setattr(build, "GreedyFilter", FakeFilter)
    monkeypatch.setattr(FakeFilter, "judged", 0)
    return FakeFilter
