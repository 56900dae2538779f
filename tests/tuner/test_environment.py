"""What a report says of where it comes from."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from casspec.tuner.environment import source_commit, without_passwords


def test_the_commit_is_that_of_the_checkout_the_code_is_tracked_in(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        identity = ("-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false")
        done = subprocess.run(
            ["git", "-C", str(tmp_path), *identity, *words], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    tracked, untracked = tmp_path / "code.py", tmp_path / "installed.py"
    tracked.write_text("a = 1\n")
    untracked.write_text("b = 1\n")
    assert source_commit(tracked) is None
    git("init", "-q")
    git("add", "code.py")
    git("commit", "-q", "-m", "first")
    assert source_commit(tracked) == git("rev-parse", "HEAD")
    assert source_commit(untracked) is None
    tracked.write_text("a = 2\n")
    assert source_commit(tracked) == git("rev-parse", "HEAD") + "-dirty"


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("--storage=postgresql://user:s:e/c%40@host:5432/casspec", "--storage=postgresql://user:***@host:5432/casspec"),
        (
            "postgresql://user@host/x?password=hidden&sslmode=require",
            "postgresql://user@host/x?password=***&sslmode=require",
        ),
        ("sqlite:////tmp/a:b@c.db", "sqlite:////tmp/a:b@c.db"),
        ("Qwen/Qwen2.5-0.5B", "Qwen/Qwen2.5-0.5B"),
    ],
)
def test_a_command_line_is_shown_without_passwords(word: str, shown: str) -> None:
    assert without_passwords(word) == shown
