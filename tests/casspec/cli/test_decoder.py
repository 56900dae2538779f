"""Which profile a command decodes with."""

from __future__ import annotations

from pathlib import Path

import pytest

from casspec.cli.decoder import decoder_for
from casspec.storage import open_repository
from casspec.storage.schema import TaskCascade
from tests.runtime.tiny import tiny_profile, tiny_target

OWN = TaskCascade(drafters=("lighter",), decision="cascade", predicted_speedup={"greedy": 2.0})


def test_the_profile_that_fits_or_none_and_that_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target, storage = tiny_target(seed=7), str(tmp_path / "store.db")
    assert decoder_for(target, "fitting", "auto", None, storage).profile is None
    assert "built-in priors" in capsys.readouterr().err
    stored = tiny_profile(target, by_task={"code": OWN}, artifacts=()).document
    with open_repository(storage) as repository:
        repository.save_profile(None, stored)
    assert decoder_for(target, "fitting", "auto", None, storage).profile == stored
    assert decoder_for(target, "none", "auto", None, storage).profile is None
    assert capsys.readouterr().err == ""
    assert decoder_for(target, "latest", "dytc", "code", storage).profile != stored
    assert decoder_for(target, "latest", "dytc", "cod", storage).profile == stored
    assert "the cascade for all tasks serves 'cod'; tasks with one of their own: code" in capsys.readouterr().err
