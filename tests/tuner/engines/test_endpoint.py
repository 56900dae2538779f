"""What an endpoint answers, and what is said where it does not."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from casspec.storage.errors import EngineError
from casspec.tuner.engines.endpoint import Answer, Asked, Endpoint
from casspec.tuner.engines.known.vllm import Vllm

Serve = Callable[..., str]


def asked(n_tokens: int = 6, after_s: float | None = None) -> Asked:
    return Asked("/v1/completions", {"prompt": [3, 4, 5], "max_tokens": n_tokens, "stream": True}, after_s)


def test_a_stream_becomes_token_ids_parts_and_times(serve: Serve) -> None:
    endpoint = Endpoint(f"{serve()}/v1/", None, Vllm().answer_ids)
    assert endpoint.served() == "model"
    seen = []
    done = endpoint.drive([asked()], 1, lambda place, tokens: seen.append((place, tokens)))
    (answer,) = done.answers
    assert answer.failure is None
    assert (answer.ids, answer.tokens, answer.first_tokens, answer.text) == ((3, 4, 5, 3, 4, 5), 6, 1, "ab" * 6)
    assert list(answer.parts) == sorted(answer.parts)
    assert seen == [(0, count) for count in range(1, 7)]
    assert done.seconds >= answer.parts[-1] - answer.began


def test_answers_stand_in_the_order_of_the_requests(serve: Serve) -> None:
    done = Endpoint(serve()).drive([asked(count) for count in (9, 2, 7, 3)], 3)
    assert [answer.tokens for answer in done.answers] == [9, 2, 7, 3]


def test_requests_with_a_time_are_not_asked_before(serve: Serve) -> None:
    done = Endpoint(serve(step_ms=0.1)).drive([asked(2, 0.0), asked(2, 0.3)], 2)
    assert done.answers[1].began - done.answers[0].began >= 0.29


def test_a_request_that_is_refused_is_a_failure_of_that_request(serve: Serve) -> None:
    url = serve({"method": "ngram", "num_speculative_tokens": 2, "prompt_lookup_min": 1, "prompt_lookup_max": 2})
    refused = Asked("/v1/completions", {"prompt": [1], "max_tokens": 2, "min_p": 0.1})
    first, second = Endpoint(url).drive([refused, asked()], 1).answers
    assert first.failure == 'status 400: {"error": "min_p is not yet supported with speculative decoding"}'
    assert second.failure is None


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://somewhere", "http://", "http://host:port", "http://h:1/?a=b"])
def test_what_is_no_url_is_told(url: str) -> None:
    with pytest.raises(EngineError, match="expected one like http"):
        Endpoint(url)


def test_nobody_listening_a_wrong_path_and_a_wrong_key_are_one_line_each(serve: Serve) -> None:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{place.getsockname()[1]}"
    guarded = serve(key="secret")
    wrong = [
        (nobody, None, "is not reached"),
        (f"{guarded}/elsewhere", "secret", "has no"),
        (guarded, "guess", "refuses the key"),
    ]
    for url, key, words in wrong:
        with pytest.raises(EngineError, match=words) as failure:
            Endpoint(url, key).get("/v1/models")
        assert "\n" not in str(failure.value)
    assert Endpoint(guarded, "secret").served() == "model"


def test_something_that_does_not_speak_http_is_not_reached() -> None:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        place.listen()

        def answer() -> None:
            place.settimeout(10)
            connection, _ = place.accept()
            connection.sendall(b"SSH-2.0-OpenSSH\r\n")
            connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(EngineError, match="is not reached"):
            Endpoint(f"http://127.0.0.1:{place.getsockname()[1]}").get("/metrics")
        thread.join()


def test_an_endpoint_that_breaks_off_is_a_failure(serve: Serve) -> None:
    (answer,) = Endpoint(serve(dies_after=0)).drive([asked()], 1).answers[:1]
    assert answer.failure is not None
    assert "\n" not in answer.failure


def test_tokens_of_the_first_part_are_not_thought_to_come_after_it() -> None:
    answer = Answer(0.0, (1.0, 1.1, 1.3), tokens=10, first_tokens=7)
    assert answer.first_ms == pytest.approx(1000)
    assert answer.token_ms == pytest.approx(100)
    assert answer.request_ms == pytest.approx(1300)
    assert answer.gaps_ms == pytest.approx([100, 200])
    assert Answer(0.0, (1.0,), tokens=7, first_tokens=7).token_ms is None


CHAT_USAGE: dict[str, Any] = {"choices": [], "usage": {"completion_tokens": 7}}
CALLS = [
    {"choices": [{"delta": {"role": "assistant", "content": ""}}]},
    {"choices": [{"delta": {"reasoning_content": "which tree?"}}]},
    {"choices": [{"delta": {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "get", "arguments": ""}}]}}]},
    {"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}}]},
    {"choices": [{"delta": {}, "finish_reason": "tool_calls"}]},
    CHAT_USAGE,
]
RESPONSE = [
    {"type": "response.created", "response": {"error": None, "usage": None}},
    {"type": "response.output_item.added", "item": {"type": "function_call", "name": "get"}},
    {"type": "response.function_call_arguments.delta", "delta": "{}"},
    {"type": "response.output_item.added", "item": {"type": "message"}},
    {"type": "response.output_text.delta", "delta": "which tree?"},
    {"type": "response.completed", "response": {"error": None, "usage": {"output_tokens": 7}}},
]


@contextmanager
def saying(answer: bytes) -> Iterator[str]:
    """A server that gives one request this answer, whatever it is."""
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        place.listen()

        def answer_one() -> None:
            place.settimeout(10)
            connection, _ = place.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(answer)

        thread = threading.Thread(target=answer_one)
        thread.start()
        yield f"http://127.0.0.1:{place.getsockname()[1]}"
        thread.join()


def streamed(events: Sequence[Any], is_chunked: bool) -> bytes:
    body = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
    if not is_chunked:
        return b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + body
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"


@pytest.mark.parametrize("is_chunked", [True, False])
@pytest.mark.parametrize(
    ("events", "text"), [(CALLS, "which tree?get{}"), (RESPONSE, "get{}which tree?")], ids=["chat", "response"]
)
def test_answers_of_calls_and_thoughts_are_whole(events: list[dict[str, Any]], text: str, is_chunked: bool) -> None:
    with saying(streamed(events, is_chunked)) as url:
        (answer,) = Endpoint(url).drive([asked()], 1).answers
    assert (answer.failure, answer.tokens, len(answer.parts), answer.text) == (None, 7, 3, text)
    assert len(answer.gaps_ms) == 2


@pytest.mark.parametrize("body", [[[]], [{"choices": ["a"]}], [{"choices": 3}], ["a"], []])
def test_a_stream_of_something_else_is_a_failure_of_that_request(body: list[Any]) -> None:
    with saying(streamed(body, True)) as url:
        (answer,) = Endpoint(url).drive([asked()], 1).answers
    assert answer.failure is not None
    assert "\n" not in answer.failure


def test_a_page_for_people_is_no_endpoint() -> None:
    page = b"<!doctype html><title>hello</title>"
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len(page)}\r\n\r\n".encode()
    with saying(head + page) as url, pytest.raises(EngineError, match="is this an OpenAI endpoint"):
        Endpoint(url).served()


def test_asking_ends_with_its_time(serve: Serve) -> None:
    endpoint = Endpoint(serve(step_ms=200))
    with pytest.raises(TimeoutError):
        endpoint.drive([asked(500)], 1, most_s=0.3)
