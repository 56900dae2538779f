"""Progress: bars on a terminal, a few plain lines elsewhere."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from rich.console import Console
from rich.table import Table

from casspec.cli.console import PLAIN_LINE_EVERY_S, print_table, show_stages
from casspec.profiler.progress import Stages


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def a_log() -> Console:
    return Console(file=io.StringIO(), force_terminal=False, width=80)


def a_terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=100, _environ={"TERM": "xterm"})


def profile_and_search(run: Stages) -> None:
    with run.stage("profile", total=2) as progress:
        progress(1, note="attention [8 tokens]")
        progress(2)
    with run.stage("search") as progress:
        progress(3)


def test_a_log_gets_plain_lines_for_each_stage() -> None:
    console = a_log()
    with show_stages(("profile", "search"), console, Clock()) as run:
        profile_and_search(run)
    assert written(console).splitlines() == [
        "[1/2] profile",
        "[1/2] profile: done in 0.0 s",
        "[2/2] search",
        "[2/2] search: done in 0.0 s",
    ]


def test_a_log_gets_a_line_now_and_then_and_not_for_each_step() -> None:
    console, clock = a_log(), Clock()
    with show_stages(("profile",), console, clock) as run, run.stage("profile", total=100) as progress:
        for point in range(100):
            clock.now_s += PLAIN_LINE_EVERY_S / 40
            progress(point + 1, note=f"point {point}")
    assert written(console).splitlines()[1:-1] == ["[1/1] profile: 40/100 point 39", "[1/1] profile: 80/100 point 79"]


def test_a_log_holds_no_control_codes() -> None:
    console = a_log()
    with show_stages(("profile", "search"), console) as run:
        profile_and_search(run)
    assert "\x1b" not in written(console)


def test_a_terminal_shows_finished_stages() -> None:
    console = a_terminal()
    with show_stages(("profile", "search"), console) as run:
        profile_and_search(run)
    assert "[1/2] profile" in written(console)
    assert "2/2" in written(console)
    assert "3/3" in written(console)


@pytest.mark.parametrize("make_console", [a_log, a_terminal])
def test_a_stage_that_fails_is_not_shown_as_done(make_console: Callable[[], Console]) -> None:
    console = make_console()

    def fail_midway() -> None:
        with show_stages(("profile",), console) as run, run.stage("profile", total=7) as progress:
            progress(3)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_midway()
    assert "done" not in written(console)
    assert "7/7" not in written(console)


def a_wide_table() -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("place", "first token ms", "parts ms"):
        table.add_column(heading, no_wrap=heading == "place")
    table.add_row("p" * 60, "1002.5 / 80651.5", "w" * 40)
    return table


def test_a_table_is_whole_in_a_log() -> None:
    log = a_log()
    print_table(a_wide_table(), log)
    heading, row = written(log).splitlines()
    assert heading.split() == ["place", "first", "token", "ms", "parts", "ms"]
    assert row.split() == ["p" * 60, "1002.5", "/", "80651.5", "w" * 40]


def test_a_table_loses_no_digit_on_a_narrow_terminal() -> None:
    terminal = a_terminal()
    print_table(a_wide_table(), terminal)
    text = written(terminal)
    assert "…" not in text
    assert text.count("w") == 40
    assert max(len(line) for line in text.splitlines() if "\x1b" not in line) <= 100
