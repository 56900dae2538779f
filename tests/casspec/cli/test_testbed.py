"""`casspec testbed`."""

from __future__ import annotations

from pathlib import Path

import pytest

from casspec import testbed
from casspec.cli.main import main


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))


def test_the_command_makes_it_once_and_prints_where(capsys: pytest.CaptureFixture[str]) -> None:
    path = f"{testbed.testbed_path(320)}\n"
    for message in ("making testbed:320", "stands in"):
        assert main(["testbed", "widen", "--hidden", "320"]) == 0
        out, err = capsys.readouterr()
        assert out == path
        assert message in err
    assert main(["testbed", "widen", "--hidden", "320", "--force"]) == 0
    assert main(["testbed", "widen", "--hidden", "100"]) == 2
