"""gpt-oss writes messages in channels: what is thought, what is said, and calls.

    <|channel|>analysis<|message|>...<|end|>
    <|start|>assistant<|channel|>commentary to=functions.name <|constrain|>json<|message|>{...}<|call|>
    <|channel|>final<|message|>...<|return|>

`analysis` is reasoning, `final` and `commentary` without a recipient are content. The markers are special tokens, so the text is to be read
with them.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from casspec.server.tool_calls.deltas import ContentDelta, Delta, ReasoningDelta, ToolCall, new_id
from casspec.server.tool_calls.json_text import made_call, value_of
from casspec.server.tool_calls.stream import Tools, call_deltas, first_marker

MESSAGE = "<|message|>"
ENDS = ("<|end|>", "<|call|>", "<|return|>", "<|start|>")
"""What ends a body; the last one is already of the next header."""

MARKERS = (MESSAGE, *ENDS, "<|channel|>", "<|constrain|>")

_OUTSIDE = (*ENDS, "<|channel|>")

_RECIPIENT = re.compile(r"to=functions\.([\w.-]+)")
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)")


class HarmonyStream:
    """Reads one message.

    Args:
        tools: a call of anything else is content. None for any. make_id: of calls.
    """

    def __init__(self, tools: Tools | None = None, make_id: Callable[[], str] = new_id) -> None:
        self._tools, self._make_id = tools, make_id
        self._text, self._header = "", ""
        self._in_body = False
        self._n_calls = 0

    def push(self, piece: str) -> list[Delta]:
        self._text += piece
        return self._read(is_last=False)

    def finish(self) -> list[Delta]:
        return self._read(is_last=True)

    def _read(self, is_last: bool) -> list[Delta]:
        deltas: list[Delta] = []
        while self._text:
            went = self._body(deltas, is_last) if self._in_body else self._head(deltas, is_last)
            if not went:
                break
        return deltas

    def _head(self, deltas: list[Delta], is_last: bool) -> bool:
        """Reads up to a body; whether it begins. What stands outside of messages is content."""
        outside = first_marker(self._text, _OUTSIDE, is_last)
        if outside:
            deltas.append(ContentDelta(self._text[:outside]))
            self._text = self._text[outside:]
            return bool(self._text)
        stray = next((one for one in ENDS[:-1] if self._text.startswith(one)), None)
        if stray is not None:
            self._text = self._text[len(stray) :]
            return True
        place = self._text.find(MESSAGE)
        if place < 0:
            self._text = "" if is_last else self._text
            return False
        self._header, self._in_body = self._text[:place], True
        self._text = self._text[place + len(MESSAGE) :]
        return True

    def _body(self, deltas: list[Delta], is_last: bool) -> bool:
        """Reads what is there of a body; whether it ended."""
        recipient = _RECIPIENT.search(self._header)
        end = first_marker(self._text, ENDS, is_last)
        marker = next((one for one in ENDS if self._text.startswith(one, end)), "")
        if recipient and not marker and not is_last:
            return False
        said, self._text = self._text[:end], self._text[end + (len(marker) if marker != ENDS[-1] else 0) :]
        deltas += self._call(recipient[1], said) if recipient else self._told(said)
        self._in_body = not marker
        return bool(marker)

    def _told(self, text: str) -> list[Delta]:
        if not text:
            return []
        channel = _CHANNEL.search(self._header)
        return [ReasoningDelta(text) if channel and channel[1] == "analysis" else ContentDelta(text)]

    def _call(self, name: str, text: str) -> list[Delta]:
        call: ToolCall | None = made_call(name, value_of(text), self._tools)
        if call is None:
            return [ContentDelta(text)] if text else []
        index, self._n_calls = self._n_calls, self._n_calls + 1
        return call_deltas(call, index, self._make_id())
