"""Text as it comes, and where it ends at a stop string: what may still become one is held back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from casspec.runtime.text.detokenize import TextStream


class StoppedText:
    """The text of tokens as they are emitted, up to the first of some strings.

    Args:
        stops: the strings; none ever ends it without any. shown: special tokens that are part of the text.

    Attributes:
        text: what is certain to belong to it.
        stopped_by: the string that ended it.
    """

    def __init__(self, tokenizer: Any, prompt: list[int], stops: Sequence[str] = (), shown: Sequence[int] = ()) -> None:
        self._stream = TextStream(tokenizer, prompt, shown)
        self._stops = stops
        self._held = ""
        self.text = ""
        self.stopped_by: str | None = None

    def push(self, token: int) -> bool:
        """One more token; whether it completed a stop string."""
        return self._add(self._stream.push([token]))

    def finish(self) -> None:
        """No token follows: nothing is held back any longer."""
        if self.stopped_by is None:
            self._add(self._stream.finish())
        if self.stopped_by is None:
            self.text, self._held = self.text + self._held, ""

    def _add(self, fresh: str) -> bool:
        text = self._held + fresh
        found = [(place, stop) for stop in self._stops if (place := text.find(stop)) >= 0]
        if found:
            # The string completed first; of those completed together the one that begins first.
            place, self.stopped_by = min(found, key=lambda one: (one[0] + len(one[1]), one[0]))
            self.text, self._held = self.text + text[:place], ""
            return True
        certain = len(text) - self._undecided(text)
        self.text, self._held = self.text + text[:certain], text[certain:]
        return False

    def _undecided(self, text: str) -> int:
        """Characters at the end of `text` that a stop string may begin with."""
        longest = max(map(len, self._stops), default=1) - 1
        for length in range(min(longest, len(text)), 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self._stops):
                return length
        return 0
