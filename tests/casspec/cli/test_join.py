"""`casspec tune --join`: which calibration is helped, with which model, and what is said in the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import casspec
from casspec.cli.join import join
from casspec.cli.main import main
from casspec.storage import open_repository
from casspec.storage.errors import CalibrationNotFound
from casspec.tuner.settings import CalibrationSettings
from tests.storage import samples

SEARCHING = CalibrationSettings(suite="reference", suite_sha256="").model_dump(mode="json")


@pytest.fixture
def calibrations(storage: str) -> tuple[str, str]:
    """Two under way, in order of their beginning: one that searches drafters, then one that only measures."""
    with open_repository(storage) as repository:
        searching, measuring = (
            repository.calibration(samples.model(name=name), samples.device(), "bfloat16", settings).calibration_id
            for name, settings in (("searched", SEARCHING), ("measured", {"seed": 1}))
        )
    return searching, measuring


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> Callable[[tuple[int, int] | None], list[Any]]:
    """Replaces the search by one that loads the model and finds this; what it was asked for is listed."""

    def replace(found: tuple[int, int] | None) -> list[Any]:
        asked: list[Any] = []

        def joined(repository: Any, databases: Any, calibration: Any, load: Callable[[], Any], progress: Any) -> Any:
            asked.extend((calibration.calibration_id, load()))
            return found

        monkeypatch.setattr("casspec.tuner.search.stage.joined", joined)
        monkeypatch.setitem(vars(casspec), "load_target", lambda name, **where: (name, *where.values()))
        return asked

    return replace


def test_the_latest_that_searches_is_joined_with_its_own_model_and_dtype(
    storage, calibrations, searched, capsys
) -> None:
    asked = searched((3, 8))
    join("latest", None, "cpu", None, storage)
    assert asked == [calibrations[0], ("searched", "cpu", "bfloat16", "lean", True)]
    assert "8 drafters evaluated, 3 when this worker joined" in capsys.readouterr().err


def test_a_model_elsewhere_is_loaded_from_there(storage, calibrations, searched, capsys) -> None:
    asked = searched(None)
    join(calibrations[0][:8], "/models/here", "cuda:1", True, storage)
    assert asked == [calibrations[0], ("/models/here", "cuda:1", "bfloat16", "lean", True)]
    assert f"the search of calibration {calibrations[0]} is over" in capsys.readouterr().err


@pytest.mark.parametrize(("asked_for", "compiles"), [(None, False), (True, True), (False, False)])
def test_forwards_run_as_in_the_calibration_unless_said_otherwise(storage, searched, asked_for, compiles) -> None:
    with open_repository(storage) as repository:
        plainly = {**SEARCHING, "forwards": "operators"}
        repository.calibration(samples.model(name="plain"), samples.device(), "bfloat16", plainly)
    asked = searched((3, 8))
    join("latest", None, "cpu", asked_for, storage)
    assert asked[1] == ("plain", "cpu", "bfloat16", "lean", compiles)


def test_the_switch_of_the_command_reaches_the_model(storage, calibrations, searched) -> None:
    asked = searched((3, 8))
    for switch, compiles in (("--no-compile", False), ("--compile", True)):
        asked.clear()
        assert main(["tune", "--join", "latest", "--threads", "1", "--storage", storage, switch]) == 0
        assert asked[1][-1] is compiles


def test_nothing_is_loaded_for_a_calibration_nobody_knows(storage, calibrations, searched) -> None:
    asked = searched(None)
    with pytest.raises(CalibrationNotFound, match="no calibration 'ffff'"):
        join("ffff", None, "cpu", None, storage)
    assert asked == []
