"""Items of a response's output as they come: messages, what was thought, and calls of functions; each with the events that tell of it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from casspec.runtime.text.logprobs import TokenLogprobs
from casspec.server.tool_calls.deltas import ContentDelta, Delta, ReasoningDelta, ToolCallDelta

Event = tuple[str, dict[str, Any]]
"""A name, without `response.` before it, and fields."""

_PREFIX = {"message": "msg", "reasoning": "rs", "function_call": "fc"}
_TEXT = {"message": "output_text", "reasoning": "reasoning_text"}
"""Of the one part of an item, and of its events."""


class ResponseItems:
    """Of one response.

    Args:
        logprobs: as responses write them.

    Attributes:
        items: those that began; the last one is not over before `finish`.
    """

    def __init__(self, logprobs: Callable[[Sequence[TokenLogprobs]], list[dict[str, Any]]]) -> None:
        self._logprobs = logprobs
        self.items: list[dict[str, Any]] = []
        self._text, self._told = "", list[dict[str, Any]]()  # of the item that is not over
        self._call = -1

    def add(self, deltas: Iterable[Delta], told: Sequence[TokenLogprobs] = ()) -> list[Event]:
        """What a step brought of the text.

        Args:
            told: of its tokens; they are told beside the first piece of a message.
        """
        events: list[Event] = []
        for delta in deltas:
            if isinstance(delta, ToolCallDelta):
                events += self._of_call(delta)
            else:
                kind = "reasoning" if isinstance(delta, ReasoningDelta) else "message"
                events += self._of_text(kind, delta, told if kind == "message" else ())
                told = () if kind == "message" else told
        return events

    def finish(self, is_cut: bool) -> list[Event]:
        """The text is over. Where nothing was said there is a message without text."""
        events = [] if self.items else self._begin("message", {"role": "assistant", "content": []})
        return events + self._end("incomplete" if is_cut else "completed")

    def _of_text(self, kind: str, delta: ContentDelta | ReasoningDelta, told: Sequence[TokenLogprobs]) -> list[Event]:
        events: list[Event] = []
        if not self._is_open(kind):
            head: dict[str, Any] = {"role": "assistant"} if kind == "message" else {"summary": []}
            events += self._end("completed") + self._begin(kind, head | {"content": []})
        fields: dict[str, Any] = {"content_index": 0, "delta": delta.text}
        if kind == "message":
            fields["logprobs"] = self._logprobs(told)
            self._told += fields["logprobs"]
        self._text += delta.text
        return [*events, self._event(f"{_TEXT[kind]}.delta", fields)]

    def _of_call(self, delta: ToolCallDelta) -> list[Event]:
        events: list[Event] = []
        if delta.index != self._call or not self._is_open("function_call"):
            self._call = delta.index
            head = {"call_id": delta.id, "name": delta.name, "arguments": ""}
            events += self._end("completed") + self._begin("function_call", head)
        if not delta.arguments:
            return events
        self._text += delta.arguments
        return [*events, self._event("function_call_arguments.delta", {"delta": delta.arguments})]

    def _is_open(self, kind: str) -> bool:
        return bool(self.items) and self.items[-1]["type"] == kind

    def _begin(self, kind: str, fields: dict[str, Any]) -> list[Event]:
        self._text, self._told = "", []
        item = {"type": kind, "id": f"{_PREFIX[kind]}_{uuid.uuid4().hex}", "status": "in_progress"} | fields
        self.items.append(item)
        events: list[Event] = [("output_item.added", {"output_index": len(self.items) - 1, "item": dict(item)})]
        if kind != "function_call":
            events.append(self._event("content_part.added", {"content_index": 0, "part": self._part(kind)}))
        return events

    def _end(self, status: str) -> list[Event]:
        """Of the item that is not over."""
        if not self.items:
            return []
        item = self.items[-1]
        item["status"] = status
        if item["type"] == "function_call":
            item["arguments"] = self._text
            done = {"name": item["name"], "arguments": self._text}
            events = [self._event("function_call_arguments.done", done)]
        else:
            part = self._part(item["type"])
            item["content"] = [part]
            fields = {"content_index": 0} | {key: part[key] for key in ("text", "logprobs") if key in part}
            events = [
                self._event(f"{part['type']}.done", fields),
                self._event("content_part.done", {"content_index": 0, "part": part}),
            ]
        return [*events, ("output_item.done", {"output_index": len(self.items) - 1, "item": item})]

    def _part(self, kind: str) -> dict[str, Any]:
        part: dict[str, Any] = {"type": _TEXT[kind], "text": self._text}
        return part | {"annotations": [], "logprobs": self._told} if kind == "message" else part

    def _event(self, name: str, fields: dict[str, Any]) -> Event:
        return name, {"item_id": self.items[-1]["id"], "output_index": len(self.items) - 1} | fields
