"""`casspec db`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

Run = Callable[..., tuple[int, str, str]]


def test_db_commands_follow_a_database_from_nothing_to_trouble(run: Run, storage: str) -> None:
    assert run("db", "current")[:2] == (0, "none\n")
    assert not Path(storage).exists()
    code, _, err = run("db", "check")
    assert code == 2
    assert "casspec db upgrade" in err
    assert "none -> " in run("db", "upgrade")[2]
    assert "nothing to do" in run("db", "upgrade")[2]
    assert run("db", "check")[0] == 0
    assert run("db", "current")[1] != "none\n"
