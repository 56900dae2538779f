"""A message in pieces is the message as a whole."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casspec.server.tool_calls.deltas import ContentDelta, ToolCallDelta
from casspec.server.tool_calls.formats import FORMATS
from casspec.server.tool_calls.stream import first_marker, read_message
from tests.casspec.server.tool_calls.samples import FIRST, SAMPLES, SECOND, TOOLS, as_json, counted, read

MARKS = sorted({part for sample in SAMPLES.values() for part in (sample[:9], sample[-9:], sample[20:30])})


@st.composite
def mangled(draw: Any) -> tuple[str, str, list[int]]:
    """(format, a message of it with a part cut out, put in or doubled, cuts)."""
    name = draw(st.sampled_from(sorted(SAMPLES)))
    text = SAMPLES[name]
    begin, end = sorted([draw(st.integers(0, len(text))), draw(st.integers(0, len(text)))])
    change = draw(st.sampled_from(["none", "cut", "end", "put", "twice"]))
    put = draw(st.sampled_from([*MARKS, "{", "}", '"', "\n", " ", "x", "</tool_call>", "[TOOL_CALLS]", "<|end|>"]))
    text = {
        "none": text,
        "cut": text[:begin] + text[end:],
        "end": text[:begin],
        "put": text[:begin] + put + text[begin:],
        "twice": text[:end] + text[begin:],
    }[change]
    cuts = draw(st.lists(st.integers(0, len(text)), max_size=6))
    return name, text, draw(st.sampled_from([cuts, list(range(len(text)))]))


@settings(max_examples=400)
@given(mangled())
def test_any_cutting_comes_to_the_same(case: tuple[str, str, list[int]]) -> None:
    name, text, cuts = case
    assert read(name, text, cuts) == read(name, text)


@pytest.mark.parametrize("name", [name for name in SAMPLES if name != "gpt-oss"])
def test_nothing_is_lost_of_a_message_that_is_not_calls(name: str) -> None:
    """What is no call stays as it is, markers too."""
    text = SAMPLES[name].replace("get", "unknown").replace("put", "unknown")
    message = read(name, text)
    assert message.calls == ()
    assert message.content == text


@pytest.mark.parametrize("name", SAMPLES)
def test_markers_of_calls_are_never_shown(name: str) -> None:
    reader, told = FORMATS[name].reader(TOOLS, counted()), []
    for character in SAMPLES[name]:
        told += reader.push(character)
    told += reader.finish()
    content = "".join(delta.text for delta in told if isinstance(delta, ContentDelta))
    assert content == ("Sure." if "Sure." in SAMPLES[name] else "")
    first = next(place for place, delta in enumerate(told) if isinstance(delta, ToolCallDelta))
    assert (told[first].id, told[first].name) == ("call_0", "get")  # type: ignore[union-attr]
    assert json.loads(read(name, SAMPLES[name]).calls[0][1].arguments)["n"] == 3


def test_content_is_told_as_soon_as_it_is_certain() -> None:
    reader = FORMATS["hermes"].reader(TOOLS)
    assert reader.push("Hello there <tool") == [ContentDelta("Hello there")]
    assert reader.push("box>, friend") == [ContentDelta(" <toolbox>, friend")]
    assert reader.finish() == []


def test_content_after_calls_is_content() -> None:
    text = (
        f"<tool_call>{as_json('get', FIRST)}</tool_call>\n\nDone. <tool_call>{as_json('put', SECOND)}</tool_call> End"
    )
    message = read("hermes", text)
    assert message.content == "Done.End"
    assert len(message.calls) == 2


def test_white_space_of_a_message_without_calls_stays() -> None:
    assert read("hermes", "\n a \n\n", [1, 2, 3]).content == "\n a \n\n"
    assert read("hermes", " \n", [1]).content == " \n"


def test_a_marker_that_has_only_begun_counts_where_more_follows() -> None:
    assert first_marker("ab<to", ("<tool>",), is_last=False) == 2
    assert first_marker("ab<to", ("<tool>",), is_last=True) == 5
    assert first_marker("a<tool>b<tool>", ("<tool>",), is_last=False) == 1


def test_a_whole_message_is_read_at_once() -> None:
    message = read_message(FORMATS["llama"].reader(None), as_json("any", "{}", "parameters"))
    assert [call.name for _, call in message.calls] == ["any"]


def test_a_long_message_takes_time_in_proportion() -> None:
    reader = FORMATS["hermes"].reader(TOOLS)
    text = "a < b " * 50_000
    assert read_message(reader, text).content == text
