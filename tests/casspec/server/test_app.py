"""What operators ask, who may ask it, and that nothing a client does ends the server."""

from __future__ import annotations

import io
import json
import socket
from typing import Any

import httpx2 as httpx
import openai
import pytest

from casspec.server.gate.access_log import AccessLog
from tests.casspec.server.serving import Served, serving, target_of, with_settings

BODY = {"model": "tiny", "prompt": "def f():", "max_tokens": 4}


def test_operators_are_told(served: Served) -> None:
    assert httpx.get(f"{served.url}/health").json() == {"status": "alive"}
    assert httpx.get(f"{served.url}/ready").json() == {"status": "ready"}
    assert "version" in httpx.get(f"{served.url}/version").json()
    (model,) = served.client().models.list().data
    assert model.id == "tiny"
    assert served.client().models.retrieve("tiny").max_model_len == 512
    with pytest.raises(openai.NotFoundError):
        served.client().models.retrieve("other")


def test_metrics_have_the_names_that_operators_graph(served: Served) -> None:
    httpx.post(f"{served.url}/v1/completions", json=BODY)
    text = httpx.get(f"{served.url}/metrics").text
    for name in (
        "vllm:num_requests_running",
        "vllm:num_requests_waiting",
        "vllm:kv_cache_usage_perc",
        "vllm:time_to_first_token_seconds_bucket",
        "vllm:inter_token_latency_seconds_bucket",
        "vllm:e2e_request_latency_seconds_bucket",
        "vllm:spec_decode_num_drafts_total",
        "vllm:spec_decode_num_draft_tokens_total",
        "vllm:spec_decode_num_accepted_tokens_total",
        "casspec:speculation_on",
        "casspec:gain_over_plain",
        "casspec:predicted_plain_step_seconds_bucket",
    ):
        assert f"{name}{{" in text


def test_texts_become_tokens_and_back(served: Served) -> None:
    ids = target_of().tokenizer.encode("def f(x):")
    told = httpx.post(f"{served.url}/tokenize", json={"prompt": "def f(x):", "return_token_strs": True}).json()
    assert (told["tokens"], told["count"], told["max_model_len"]) == (ids, len(ids), 512)
    assert "".join(told["token_strs"]) == "def f(x):"
    assert httpx.post(f"{served.url}/detokenize", json={"tokens": ids}).json() == {"prompt": "def f(x):"}
    chat = httpx.post(f"{served.url}/tokenize", json={"messages": [{"role": "user", "content": "x"}]}).json()
    assert target_of().tokenizer.decode(chat["tokens"]) == "# user: x\ndef"
    for path, body, param in [
        ("tokenize", {}, "prompt"),
        ("tokenize", {"prompt": "x", "chat_template_kwargs": {}}, "chat_template_kwargs"),
        ("detokenize", {"tokens": [99999]}, "tokens"),
    ]:
        refusal = httpx.post(f"{served.url}/{path}", json=body)
        assert (refusal.status_code, refusal.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[1]", 400),
        (b'{"model": "tiny", "prompt": "\\ud800"}', 400),
        (b'{"model": "tiny", "prompt": "x", "temperature": NaN}', 400),
        (b'{"model": "tiny", "prompt": "x", "\\ud800": 1}', 400),
        (b"[" * 100_000, 400),
        (b'{"model": "tiny", "prompt": "x", "max_tokens": 1' + b"0" * 5000 + b"}", 400),
        (b"\xff\xfe", 400),
    ],
)
def test_a_body_that_is_no_request_is_refused(served: Served, content: bytes, status: int) -> None:
    answer = httpx.post(f"{served.url}/v1/completions", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == status
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_a_body_that_is_not_called_json_is_refused(served: Served) -> None:
    for path in ("v1/completions", "v1/chat/completions", "v1/responses", "tokenize", "detokenize"):
        for kind in ("text/plain", "application/xml", ""):
            answer = httpx.post(f"{served.url}/{path}", content=json.dumps(BODY), headers={"content-type": kind})
            assert answer.status_code == 400


def test_unknown_paths_and_methods_have_error_objects_too(served: Served) -> None:
    for answer, status in [
        (httpx.get(f"{served.url}/v2/completions"), 404),
        (httpx.get(f"{served.url}/v1/completions"), 405),
        (httpx.post(f"{served.url}/admin/reload"), 404),
    ]:
        assert (answer.status_code, list(answer.json())) == (status, ["error"])


def test_keys_open_what_tells_of_texts() -> None:
    log = io.StringIO()
    with serving(with_settings(api_keys=("secret",), admin_keys=("boss",)), log=AccessLog(None, log)) as served:
        for path in ("v1/models", "metrics", "figures"):
            assert httpx.get(f"{served.url}/{path}").status_code == 401
            for key in ("secret", "boss"):
                answer = httpx.get(f"{served.url}/{path}", headers={"Authorization": f"Bearer {key}"})
                assert answer.status_code == 200
        for path in ("health", "ready", "version", ""):
            assert httpx.get(f"{served.url}/{path}").status_code == 200
        with pytest.raises(openai.AuthenticationError):
            served.client("wrong").completions.create(**BODY)
        text = served.client("secret").completions.create(**BODY, user="ann").choices[0].text
        assert httpx.post(f"{served.url}/v1/completions", content=b"{").status_code == 401, (
            "before the body is looked at"
        )
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert all("prompts" not in line for line in lines)
    told = next(line for line in lines if line["status"] == 200 and line["path"] == "/v1/completions")
    assert (told["user"], told["tokens"], told["finished"]) == ("ann", 4, True)
    assert text


def test_prompts_are_logged_where_that_is_asked_for() -> None:
    log = io.StringIO()
    with serving(with_settings(log_prompts=True), log=AccessLog(None, log)) as served:
        text = served.client().completions.create(**BODY).choices[0].text
    (line,) = [json.loads(line) for line in log.getvalue().splitlines()]
    assert (line["prompts"], line["said"]) == (["def f():"], [text])


def test_the_size_of_a_request_is_bounded() -> None:
    with serving(with_settings(max_request_bytes=1000, max_prompt_tokens=20)) as served:
        assert httpx.post(f"{served.url}/v1/completions", content=b"x" * 1001).status_code == 413
        refusal = httpx.post(f"{served.url}/v1/completions", json=BODY | {"prompt": [1] * 21})
        assert (refusal.status_code, refusal.json()["error"]["code"]) == (400, "context_length_exceeded")


def test_a_full_line_says_when_to_come_again(unhurried: None) -> None:
    with serving(with_settings(max_batch=1, max_queue=1)) as served:
        too_many = httpx.post(f"{served.url}/v1/completions", json=BODY | {"n": 3})
        assert (too_many.status_code, too_many.json()["error"]["code"]) == (400, "too_many_texts")
        client = served.client()
        long: dict[str, Any] = BODY | {"max_tokens": 400, "extra_body": {"ignore_eos": True}}
        streams = [client.completions.create(**long, stream=True) for _ in range(2)]
        with pytest.raises(openai.RateLimitError) as refusal:
            client.completions.create(**BODY)
        assert int(refusal.value.response.headers["retry-after"]) >= 1
        for stream in streams:
            stream.close()


def test_a_request_has_its_time(unhurried: None) -> None:
    with serving(with_settings(request_seconds=0.05)) as served:
        answer = httpx.post(f"{served.url}/v1/completions", json=BODY | {"max_tokens": 400, "ignore_eos": True})
        assert (answer.status_code, answer.json()["error"]["code"]) == (504, "timeout")


def test_a_client_that_goes_away_frees_its_rows(unhurried: None) -> None:
    with serving() as served:
        for stream in (True, False):
            body = json.dumps(BODY | {"max_tokens": 480, "ignore_eos": True, "stream": stream}).encode()
            head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            host, port = served.url.removeprefix("http://").split(":")
            with socket.create_connection((host, int(port))) as connection:
                connection.sendall(head.encode() + body)
                until(served, running=1)
            until(served, running=0, open=0)
        assert (
            'casspec:failed_requests_total{model_name="tiny",reason="left"} 2.0'
            in httpx.get(f"{served.url}/metrics").text
        )
        assert served.client().completions.create(**BODY).usage.completion_tokens == 4


def until(served: Served, **figures: int) -> None:
    """Asks for figures until they are these."""
    for _ in range(20_000):
        told = httpx.get(f"{served.url}/figures").json()
        if all(told[name] == value for name, value in figures.items()):
            return
    raise AssertionError(told)
