"""The stream of /v1/responses: events with names and numbers, each text told as it comes and once more whole."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Protocol

from casspec.server.api.answering import event
from casspec.server.errors import told as error_told
from casspec.server.replies import Reply, Told
from casspec.server.step_thread import Delta


class Answer(Protocol):
    """What events are made of: see `Response`."""

    fields: list[str]

    def opened(self) -> dict[str, Any]: ...
    def told(self, told: Told) -> dict[str, Any]: ...
    def message(self, told: Told) -> dict[str, Any]: ...
    def part(self, told: Told) -> dict[str, Any]: ...
    def logprobs(self, told: Any) -> list[dict[str, Any]]: ...


class ResponseEvents:
    """Of one answer.

    Args:
        message_id: of its one message.
    """

    def __init__(self, answer: Answer, message_id: str) -> None:
        self._answer, self._message_id = answer, message_id
        self._number = 0

    async def of(self, reply: Reply) -> AsyncIterator[str]:
        """All events. An error after the first is one too."""
        place = {"item_id": self._message_id, "output_index": 0, "content_index": 0}
        opened, one = self._answer.opened(), reply.told[0]
        item = {"type": "message", "id": self._message_id, "role": "assistant", "status": "in_progress", "content": []}
        empty = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        yield self._event("response.created", response=opened)
        yield self._event("response.in_progress", response=opened)
        yield self._event("response.output_item.added", output_index=0, item=item)
        yield self._event("response.content_part.added", **place, part=empty)
        try:
            async for _, happened in reply.events():
                if isinstance(happened, Delta) and (happened.text or happened.logprobs):
                    logprobs = self._answer.logprobs(happened.logprobs)
                    yield self._event("response.output_text.delta", **place, delta=happened.text, logprobs=logprobs)
        except Exception as error:
            failed = error_told(error, self._answer.fields)
            told = {"code": "server_error", "message": failed.message}
            yield self._event("response.failed", response=opened | {"status": "failed", "error": told})
            return
        part = self._answer.part(one)
        yield self._event("response.output_text.done", **place, text=one.text, logprobs=part["logprobs"])
        yield self._event("response.content_part.done", **place, part=part)
        yield self._event("response.output_item.done", output_index=0, item=self._answer.message(one))
        answer = self._answer.told(one)
        yield self._event(f"response.{answer['status']}", response=answer)

    def _event(self, name: str, **fields: Any) -> str:
        number, self._number = self._number, self._number + 1
        return event({"type": name, "sequence_number": number} | fields, name)
