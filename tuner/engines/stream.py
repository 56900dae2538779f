"""What a stream brought: parts of completions, of chats and of responses, whatever they hold, with the times they came."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

CALL_TEXT = ("name", "arguments")
"""Of a called function."""

RESPONSE_DELTAS = frozenset(
    f"response.{name}.delta"
    for name in (
        "output_text",
        "refusal",
        "reasoning_text",
        "reasoning_summary_text",
        "function_call_arguments",
        "custom_tool_call_input",
    )
)
"""Events of /v1/responses that bring text."""
RESPONSE_ENDS = ("response.completed", "response.incomplete")


class RequestFailed(Exception):
    """An answer that is no stream of text; the message says what came instead."""


@dataclass
class Stream:
    """What came so far. Text is what the model wrote: an answer's, a thought's, a call's name and arguments.

    Attributes:
        parts: when each part with text or token ids came, in seconds of `time.perf_counter`.
        used: tokens as the engine told them last, by the names of completions.
        first_tokens: of the new tokens, those that had come with the first part; 1 where nobody tells.
    """

    parts: list[float] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    used: dict[str, Any] = field(default_factory=dict)
    first_tokens: int = 0

    @property
    def so_far(self) -> int:
        """Tokens, as far as is told; else parts."""
        return int(self.used.get("completion_tokens") or len(self.ids) or len(self.parts))

    def take_usage(self, event: Mapping[str, Any]) -> None:
        """Of an event, where it tells any. Raises RequestFailed for one that tells of a failure."""
        response = event.get("response") or {}
        failure = event.get("error") or response.get("error")
        if failure or event.get("type") in ("error", "response.failed"):
            raise RequestFailed(str(failure or event.get("message") or "the response failed"))
        if event.get("usage"):
            self.used = event["usage"]
        elif event.get("type") in RESPONSE_ENDS and response.get("usage"):
            self.used = {**response["usage"], "completion_tokens": response["usage"].get("output_tokens", 0)}

    def add(self, now: float, text: str, ids: list[int]) -> bool:
        """A part; False for one that holds nothing."""
        self.ids += ids
        self.texts.append(text)
        if not (text or ids):
            return False
        self.parts.append(now)
        self.first_tokens = self.first_tokens or self.used.get("completion_tokens", 0) or len(self.ids) or 1
        return True

    def tokens(self) -> int:
        """Of the whole answer. Raises RequestFailed where nothing came, or nobody told how much."""
        if not self.parts:
            raise RequestFailed("the stream ended without text")
        found = int(self.used.get("completion_tokens") or len(self.ids))
        if not found:
            raise RequestFailed("the stream ended without usage")
        return found


def choice_text(choice: Mapping[str, Any]) -> str:
    """Of a choice of a completion's or a chat's event. vLLM and SGLang spell thoughts in two ways, and may do both at once."""
    if choice.get("text"):
        return str(choice["text"])
    delta = choice.get("delta") or {}
    found = [delta.get("reasoning_content") or delta.get("reasoning"), delta.get("content"), delta.get("refusal")]
    functions = [call.get("function") or {} for call in delta.get("tool_calls") or ()]
    functions.append(delta.get("function_call") or {})
    found += [function.get(name) for function in functions for name in CALL_TEXT]
    return "".join(str(text) for text in found if text)


def response_text(event: Mapping[str, Any]) -> str:
    """Of an event of a response: a delta, or the name of a function that is called."""
    if event.get("type") in RESPONSE_DELTAS:
        return str(event.get("delta") or "")
    item = event.get("item") or {}
    is_call = event.get("type") == "response.output_item.added" and item.get("type") == "function_call"
    return str(item.get("name") or "") if is_call else ""
