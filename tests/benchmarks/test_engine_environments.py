"""Environments of engines for tests: found once they are complete, and told where they cannot be made."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import engine_environments
from benchmarks.engine_environments import WITH_PARSER, interpreter_of, main
from benchmarks.peers.engines import Engine
from benchmarks.peers.environments import COMPLETE, Environment, PeerUnavailable, home_of


@pytest.mark.parametrize("name", WITH_PARSER)
def test_only_a_complete_environment_is_found(name: str, tmp_path: Path) -> None:
    home = home_of(WITH_PARSER[name], tmp_path)
    home.mkdir()
    assert interpreter_of(name, tmp_path) is None
    (home / COMPLETE).write_text('{"seconds": 1.0}')
    assert interpreter_of(name, tmp_path) == home / "bin" / "python"


def test_one_that_cannot_be_made_is_told_and_the_others_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made(engine: Engine, folder: Path, again: bool) -> Environment:
        if engine.name == "sglang":
            raise PeerUnavailable("no wheel")
        return Environment(folder / "python")

    monkeypatch.setattr(engine_environments, "environment", made)
    done = CliRunner().invoke(main, ["--environments", str(tmp_path)])
    assert done.exit_code == 0
    assert done.stdout.split() == [str(tmp_path / "python")]
    assert done.stderr == "no sglang: no wheel\n"
