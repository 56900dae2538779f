"""The stream of /v1/responses: events with names and numbers, each item told as it comes and once more whole."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Protocol

from casspec.server.api.answering import event
from casspec.server.api.responses.items_out import Event
from casspec.server.errors import told as error_told
from casspec.server.replies import Reply, Told
from casspec.server.step_thread import Delta


class Answer(Protocol):
    """What events are made of: see `Response`."""

    fields: list[str]

    def opened(self) -> dict[str, Any]: ...
    def pushed(self, happened: Delta) -> list[Event]: ...
    def finished(self, told: Told) -> list[Event]: ...
    def told(self, told: Told) -> dict[str, Any]: ...


class ResponseEvents:
    """Of one answer."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._number = 0

    async def of(self, reply: Reply) -> AsyncIterator[str]:
        """All events. An error after the first is one too."""
        opened = self._answer.opened()
        yield self._event("created", {"response": opened})
        yield self._event("in_progress", {"response": opened})
        try:
            async for _, happened in reply.events():
                if isinstance(happened, Delta):
                    for name, fields in self._answer.pushed(happened):
                        yield self._event(name, fields)
        except Exception as error:
            failed = error_told(error, self._answer.fields)
            told = {"code": "server_error", "message": failed.message}
            yield self._event("failed", {"response": opened | {"status": "failed", "error": told}})
            return
        one = reply.told[0]
        for name, fields in self._answer.finished(one):
            yield self._event(name, fields)
        answer = self._answer.told(one)
        yield self._event(answer["status"], {"response": answer})

    def _event(self, name: str, fields: dict[str, Any]) -> str:
        number, self._number = self._number, self._number + 1
        name = f"response.{name}"
        return event({"type": name, "sequence_number": number} | fields, name)
