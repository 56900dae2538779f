"""gpt-oss writes messages in channels: what is thought, what is said, and calls.

    <|channel|>analysis<|message|>...<|end|>
    <|start|>assistant<|channel|>commentary to=functions.name <|constrain|>json<|message|>{...}<|call|>
    <|channel|>final<|message|>...<|return|>

`analysis` is reasoning, `final` and `commentary` without a recipient are content. The recipient may stand before the channel. The markers
are special tokens, so the text is to be read with them.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from casspec.server.tool_calls.deltas import ContentDelta, Delta, ReasoningDelta, ToolCallDelta, new_id
from casspec.server.tool_calls.json_text import JsonArguments
from casspec.server.tool_calls.stream import Tools, first_marker

MESSAGE = "<|message|>"
ENDS = ("<|end|>", "<|call|>", "<|return|>", "<|start|>")
"""What ends a body; the last one is already of the next header."""

MARKERS = (MESSAGE, *ENDS, "<|channel|>", "<|constrain|>")

_OUTSIDE = (*ENDS, "<|channel|>")

_RECIPIENT = re.compile(r"to=functions\.([\w.-]+)")
_FIRST_RECIPIENT = re.compile(r"\s*to=functions\.[\w.-]+\s*")
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)")


class HarmonyStream:
    """Reads one message.

    Args:
        tools: a call of anything else is content. None for any. make_id: of calls.
    """

    def __init__(self, tools: Tools | None = None, make_id: Callable[[], str] = new_id) -> None:
        self._tools, self._make_id = tools, make_id
        self._text, self._header = "", ""
        self._in_body, self._is_first = False, True
        self._arguments: JsonArguments | None = None  # of the call that the body is
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
        if outside and self._is_first and self._may_be_recipient(outside, is_last):
            if outside == len(self._text) or not self._text.startswith("<|channel|>", outside):
                return False
            outside = 0
        if outside:
            self._is_first = False
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
        self._header, self._in_body, self._is_first = self._text[:place], True, False
        self._text = self._text[place + len(MESSAGE) :]
        return True

    def _body(self, deltas: list[Delta], is_last: bool) -> bool:
        """Reads what is there of a body; whether it ended."""
        recipient = _RECIPIENT.search(self._header)
        end = first_marker(self._text, ENDS, is_last)
        marker = next((one for one in ENDS if self._text.startswith(one, end)), "")
        said, length = self._text[:end], end + (len(marker) if marker != ENDS[-1] else 0)
        if recipient and (self._tools is None or recipient[1] in self._tools):
            if not said.lstrip() and not marker and not is_last:
                return False
            deltas += self._call(recipient[1], said)
        else:
            deltas += self._told(said)
        self._text = self._text[length:]
        self._in_body = not marker
        if marker:
            self._arguments = None
        return bool(marker)

    def _told(self, text: str) -> list[Delta]:
        if not text:
            return []
        channel = _CHANNEL.search(self._header)
        return [ReasoningDelta(text) if channel and channel[1] == "analysis" else ContentDelta(text)]

    def _call(self, name: str, text: str) -> list[Delta]:
        """Of the body of a call: its arguments, and what stands behind them, which belongs to nobody. One that is no object is content."""
        deltas: list[Delta] = []
        if self._arguments is None:
            text = text.lstrip()
            if not text.startswith("{"):
                self._header = ""
                return self._told(text)
            self._arguments, self._is_over = JsonArguments(), False
            deltas.append(ToolCallDelta(self._n_calls, self._make_id(), name))
            self._n_calls += 1
        if not self._is_over:
            _, told, self._is_over = self._arguments.read(text, is_last=False)
            if told:
                deltas.append(ToolCallDelta(self._n_calls - 1, arguments=told))
        return deltas

    def _may_be_recipient(self, length: int, is_last: bool) -> bool:
        """Whether what stands before the first marker is the recipient of a call, or may become it."""
        said = self._text[:length].lstrip()
        if length == len(self._text) and not is_last:
            return "to=functions.".startswith(said) or bool(_FIRST_RECIPIENT.fullmatch(said))
        return bool(_FIRST_RECIPIENT.fullmatch(said)) and not is_last
