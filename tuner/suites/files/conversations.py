"""Rows that hold a conversation of several roles: OpenAI's messages and ShareGPT."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

from casspec.tuner.suites.files.rows import Request, UnusableRow, checked, shortened, task_of

Role = Literal["system", "user", "assistant"]

ROLES: dict[str, Role] = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
"""OpenAI's."""
SPEAKERS: dict[str, Role] = {
    **ROLES,
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "model": "assistant",
}
"""ShareGPT's."""
BETWEEN = "\n\n"
"""Stands between texts that one speaker says in a row."""


class Said(NamedTuple):
    role: Role
    text: str


def messages(row: dict[str, Any], field: str = "messages") -> Request:
    """A row with OpenAI's `messages`, each with `role` and `content`. Raises UnusableRow."""
    return _request(row, [_message(place, each) for place, each in enumerate(listed(row, field), start=1)])


def share_gpt(row: dict[str, Any]) -> Request:
    """A row with ShareGPT's `conversations`, each with `from` and `value`. Raises UnusableRow.

    Some publish them with `role` and `content`.
    """
    field = "conversations" if "conversations" in row else "conversation"
    told = []
    for place, each in enumerate(listed(row, field), start=1):
        if isinstance(each, dict) and "from" in each:
            told.append(Said(_role(each["from"], SPEAKERS, place), content_of(each.get("value"), place)))
        else:
            told.append(_message(place, each))
    return _request(row, told)


def listed(row: dict[str, Any], field: str) -> list[Any]:
    """A list of messages. Raises UnusableRow."""
    value = row.get(field)
    if not isinstance(value, list):
        raise UnusableRow(f"{field} is {shortened(value)}; expected a list")
    return value


def _message(place: int, message: Any) -> Said:
    if not isinstance(message, dict):
        raise UnusableRow(f"message {place} is {shortened(message)}; expected an object")
    return Said(_role(message.get("role"), ROLES, place), content_of(message.get("content"), place))


def _role(name: Any, known: dict[str, Role], place: int) -> Role:
    role = known.get(name) if isinstance(name, str) else None
    if role is None:
        raise UnusableRow(f"message {place} is of role {shortened(name)}")
    return role


def content_of(content: Any, place: int) -> str:
    """What a message says: a text, or the parts of one. Raises UnusableRow."""
    if isinstance(content, list):
        content = "".join(_part(part, place) for part in content)
    if content is None:
        content = ""
    if not isinstance(content, str):
        raise UnusableRow(f"message {place} says {shortened(content)}; expected a text")
    return checked(content, f"message {place}")


def _part(part: Any, place: int) -> str:
    kind = part.get("type") if isinstance(part, dict) else part
    text = part.get("text") if isinstance(part, dict) and kind == "text" else None
    if not isinstance(text, str):
        raise UnusableRow(f"message {place} has a part that is no text ({shortened(kind)})")
    return text


def _request(row: dict[str, Any], told: Sequence[Said]) -> Request:
    """The conversation up to its last question; an answer to that one, which a log has, is what is asked for. Raises UnusableRow."""
    by_turns = list(_joined(told))
    system = ""
    if by_turns and by_turns[0].role == "system":
        system = by_turns.pop(0).text.strip()
    if by_turns and by_turns[-1].role == "assistant":
        by_turns.pop()
    if not any(said.role == "user" for said in by_turns):
        raise UnusableRow("no question")
    if by_turns[0].role == "assistant":
        raise UnusableRow("begins with an answer")
    if any(said.role == "system" for said in by_turns):
        raise UnusableRow("a system message after the first question")
    turns = tuple(said.text for said in by_turns if said.role == "user")
    answers = tuple(said.text for said in by_turns if said.role == "assistant")
    return Request(turns=turns, task=task_of(row), system=system, answers=answers)


def _joined(told: Sequence[Said]) -> Iterator[Said]:
    """What is said, without empty messages; what one role says in a row is one text."""
    last: Said | None = None
    for said in told:
        if not said.text.strip():
            continue
        if last is not None and last.role == said.role:
            last = Said(last.role, f"{last.text}{BETWEEN}{said.text}")
            continue
        if last is not None:
            yield last
        last = said
    if last is not None:
        yield last
