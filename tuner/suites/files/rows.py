"""What a row of a file is: a request, or a reason why it is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from casspec.storage.schema import OVERALL

NAME_CHARACTERS = 100
"""Most of a prompt's ID or a task's name, which become names in the store."""


class UnusableRow(Exception):
    """A row without a prompt; the message says why, in a few words."""


@dataclass(frozen=True)
class Request:
    """A conversation as a file has it."""

    turns: tuple[str, ...]
    """What the user says, one text at least."""
    task: str = "chat"
    id: str | None = None
    """The row's own name; None where it has none that can be used."""
    system: str = ""
    answers: tuple[str, ...] = ()
    """What was answered to the first turns, where that is recorded."""
    kind: Literal["text", "chat"] = "chat"
    conversation: str = ""
    """Of one with tools: `messages` and `tools` as JSON."""
    must_be_only: bool = False
    """Whether another row of the same ID is a mistake."""


@dataclass(frozen=True)
class Found:
    """A request and where it stands."""

    row: int
    """From 1 on: the line of JSON lines, the place in a list, the row as a spreadsheet counts (1 is the header)."""
    shape: str
    request: Request


@dataclass(frozen=True)
class LeftOut:
    """A row that cannot be used."""

    row: int
    why: str


def text_of(value: Any, what: str) -> str:
    """A text with something in it. Raises UnusableRow, which names it `what`."""
    if value is None:
        raise UnusableRow(f"no {what}")
    if not isinstance(value, str):
        raise UnusableRow(f"{what} is {shortened(value)}; expected a text")
    if not value.strip():
        raise UnusableRow(f"empty {what}")
    return checked(value, what)


def checked(text: str, what: str) -> str:
    """The text, which must be of whole characters. Raises UnusableRow."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UnusableRow(f"{what} holds half a character (a lone surrogate)") from error
    return text


def task_of(row: dict[str, Any], otherwise: str = "chat") -> str:
    """The task that `category` names, else `otherwise`. Raises UnusableRow for a category that names none."""
    category = row.get("category")
    return otherwise if category is None or category == "" else named_task(category)


def named_task(category: Any) -> str:
    """A category as the name of a task. Raises UnusableRow."""
    if not isinstance(category, str) or not category:
        raise UnusableRow(f"category is {shortened(category)}; expected the name of a task")
    if category == OVERALL:
        raise UnusableRow(f"category is {category!r}, which stands for all tasks together; expected another name")
    if not is_name(category):
        raise UnusableRow(f"category is {shortened(category)}; expected at most {NAME_CHARACTERS} printable characters")
    return category


def is_name(text: str) -> bool:
    """Whether a text can be the name of a thing in the store and on a line."""
    return 0 < len(text) <= NAME_CHARACTERS and text.isprintable()


def shortened(value: Any) -> str:
    """A value on a line of its own."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def counted(n: int, noun: str) -> str:
    """ "1 row", "2,000 rows"."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
