"""Items of an output, and events that tell of them."""

from __future__ import annotations

from typing import Any

from casspec.server.api.responses.items_out import Event, ResponseItems
from casspec.server.tool_calls.deltas import ContentDelta, Delta, ReasoningDelta, ToolCallDelta

SAID: list[Delta] = [
    ReasoningDelta("Hm"),
    ReasoningDelta("."),
    ContentDelta("Sure"),
    ContentDelta("."),
    ToolCallDelta(0, "call_a", "get"),
    ToolCallDelta(0, arguments='{"n"'),
    ToolCallDelta(0, arguments=": 1}"),
    ToolCallDelta(1, "call_b", "put"),
    ToolCallDelta(1, arguments="{}"),
]


def told(deltas: list[Delta], is_cut: bool = False) -> tuple[list[dict[str, Any]], list[Event]]:
    items = ResponseItems(lambda logprobs: [{"n": len(logprobs)}] if logprobs else [])
    events = [event for delta in deltas for event in items.add([delta])]
    return items.items, events + items.finish(is_cut)


def test_what_is_thought_said_and_called_are_items_in_their_order() -> None:
    items, _ = told(SAID)
    assert [item["type"] for item in items] == ["reasoning", "message", "function_call", "function_call"]
    assert [part["text"] for item in items[:2] for part in item["content"]] == ["Hm.", "Sure."]
    calls = [(item["call_id"], item["name"], item["arguments"]) for item in items[2:]]
    assert calls == [("call_a", "get", '{"n": 1}'), ("call_b", "put", "{}")]
    assert {item["status"] for item in items} == {"completed"}
    assert [item["id"].partition("_")[0] for item in items] == ["rs", "msg", "fc", "fc"]


def test_every_item_begins_comes_in_pieces_and_ends() -> None:
    items, events = told(SAID)
    of_first = [name for name, fields in events if fields["output_index"] == 0]
    assert of_first == [
        "output_item.added",
        "content_part.added",
        "reasoning_text.delta",
        "reasoning_text.delta",
        "reasoning_text.done",
        "content_part.done",
        "output_item.done",
    ]
    of_call = [(name, fields) for name, fields in events if fields["output_index"] == 2]
    assert [name for name, _ in of_call] == [
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
    ]
    assert of_call[0][1]["item"] == {**items[2], "arguments": "", "status": "in_progress"}
    assert [fields["delta"] for name, fields in of_call if name.endswith("delta")] == ['{"n"', ": 1}"]
    assert of_call[3][1]["arguments"] == '{"n": 1}'
    assert all(fields["item_id"] == items[fields["output_index"]]["id"] for _, fields in events if "item_id" in fields)


def test_a_text_that_was_cut_leaves_its_last_item_incomplete() -> None:
    items, _ = told(SAID[:6], is_cut=True)
    assert [item["status"] for item in items] == ["completed", "completed", "incomplete"]
    assert items[-1]["arguments"] == '{"n"'


def test_where_nothing_was_said_there_is_a_message_without_text() -> None:
    (item,), events = told([])
    assert item["content"] == [{"type": "output_text", "text": "", "annotations": [], "logprobs": []}]
    assert [name for name, _ in events][:2] == ["output_item.added", "content_part.added"]


def test_logprobs_stand_beside_the_piece_of_their_step() -> None:
    items = ResponseItems(lambda logprobs: [{"n": len(logprobs)}] if logprobs else [])
    of_two: Any = [None, None]
    events = items.add([ContentDelta("ab")], of_two) + items.add([ContentDelta("")], of_two[:1]) + items.finish(False)
    assert [fields["logprobs"] for name, fields in events if name == "output_text.delta"] == [[{"n": 2}], [{"n": 1}]]
    assert items.items[0]["content"][0]["logprobs"] == [{"n": 2}, {"n": 1}]
