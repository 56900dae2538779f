"""Rules of llguidance's Lark, made one by one: literals with markers as tokens, JSON of a schema, and text up to a marker."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from casspec.runtime.text.grammar import Grammar

AS_TEMPLATES_WRITE = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""White space of JSON: that of the calls in chat templates, which models learnt from."""

EMPTY = '""'

_PLAIN = frozenset("<> _=:`")
"""Characters that stand for themselves in a regular expression, besides letters and digits."""


class LarkRules:
    """Rules of one grammar.

    Args:
        markers: those of them that are tokens of their own in `tokenizer` are written as these tokens.
    """

    def __init__(self, tokenizer: Any, markers: Iterable[str]) -> None:
        self._added = dict(getattr(tokenizer, "added_tokens_decoder", {}))
        numbers = {str(token): number for number, token in self._added.items()}
        self._tokens = {marker: numbers[marker] for marker in markers if marker in numbers}
        self._lines: list[str] = []

    def grammar(self, start: str) -> Grammar:
        """All rules, with what a text is."""
        return Grammar("lark", "\n".join([f"start: {start}", *self._lines]))

    def rule(self, expression: str, is_lazy: bool = False) -> str:
        """A rule for an expression; its name. A lazy one ends as soon as it can."""
        name = f"rule_{len(self._lines)}"
        self._lines.append(f"{name}{'[lazy]' if is_lazy else ''}: {expression or EMPTY}")
        return name

    def terminal(self, expression: str) -> str:
        """A terminal, which may hold `&` and `~` of regular expressions; its name."""
        name = f"TEXT_{len(self._lines)}"
        self._lines.append(f"{name}: {expression}")
        return name

    def written(self, text: str) -> str:
        """A text as it stands, its markers as tokens."""
        if not self._tokens:
            return json.dumps(text) if text else ""
        parts = re.split(f"({'|'.join(map(re.escape, self._tokens))})", text)
        return in_turn(
            *(f"<[{self._tokens[part]}]>" if part in self._tokens else json.dumps(part) for part in parts if part)
        )

    def json(self, schema: Any) -> str:
        """JSON of a schema."""
        return (
            f"%json {json.dumps({**schema, 'x-guidance': AS_TEMPLATES_WRITE} if isinstance(schema, dict) else schema)}"
        )

    def text(self, never: Sequence[str], least: int = 1, most: int | None = None, first: str = "") -> str:
        """Text in which none of `never` stands; its terminal.

        Args:
            least, most: characters. first: a regular expression of what it begins with.
        """
        size = f"{{{least},{'' if most is None else most}}}"
        free = f"/{first}(?s:.){size if (least, most) != (0, None) else '*'}/"
        return self.terminal(f"{free} & ~/(?s:.*)({'|'.join(map(regex, never))})(?s:.*)/" if never else free)

    def text_until(self, stop: str, never: Sequence[str] = (), least: int = 0, most: int | None = None) -> str:
        """Text and the marker that ends it, which is a token or is spelled; in the text stands neither it nor any of `never`."""
        inside = (stop, *never)
        spelled = self.rule(f"{self.text(inside, least, most)} {json.dumps(stop)}", is_lazy=True)
        if stop not in self._tokens:
            return spelled
        said = self.text(inside, max(least, 1), most)
        return f"({said}{'?' if least == 0 else ''} <[{self._tokens[stop]}]> | {spelled})"

    def other_tokens(self, markers: Collection[str]) -> str:
        """Added tokens that are none of `markers`; "" where there are none. llguidance takes many of them out of text, special or not."""
        numbers = [number for number, token in self._added.items() if str(token) not in markers]
        return f"<[{','.join(map(str, sorted(numbers)))}]>" if numbers else ""


def in_turn(*parts: str) -> str:
    """Expressions one after the other."""
    return " ".join(part for part in parts if part)


def any_of(expressions: Iterable[str]) -> str:
    """One of several."""
    return f"({' | '.join(expressions)})"


def regex(text: str) -> str:
    """A regular expression of Rust's syntax between slashes, for a text as it stands."""
    return "".join(
        "\\n" if one == "\n" else one if one.isalnum() or not one.isascii() or one in _PLAIN else f"\\{one}"
        for one in text
    )
