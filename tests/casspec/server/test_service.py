"""Texts of many clients at a time are those of a decoder alone, and readiness is told as it is."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2 as httpx
import pytest

from casspec.runtime.decode import Decoder
from casspec.server.engines import Engines
from casspec.storage.errors import UnknownModel
from tests.casspec.server.serving import Served, methods_of, profile_of, serving, target_of, with_settings

METHODS = ["autoregressive", "dytc", "prompt-lookup", "suffix"]


def request(dice: random.Random) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A body, and what a decoder is to be asked for each of its texts."""
    prompt = [dice.randrange(1, 40) for _ in range(dice.randrange(1, 30))] * dice.choice([1, 1, 3])
    body: dict[str, Any] = {"model": "tiny", "prompt": prompt, "max_tokens": dice.randrange(1, 25)}
    options: dict[str, Any] = {"max_new_tokens": body["max_tokens"]}
    if dice.random() < 0.6:
        shared = {"temperature": dice.choice([0.5, 0.9, 1.2]), "seed": dice.randrange(1000)}
        shared |= dice.choice([{}, {}, {"top_p": 0.9}, {"top_k": 20}, {"min_p": 0.05}])
        body, options = body | shared, options | shared
        body["n"] = dice.choice([1, 1, 2])
    shared = dice.choice([{}, {}, {"repetition_penalty": 1.3}, {"presence_penalty": 1.0}, {"frequency_penalty": 0.7}])
    body, options = body | shared, options | shared
    if dice.random() < 0.2:
        body["logit_bias"], options["logit_bias"] = {"9": 3.0, "0": 4.0}, {9: 3.0, 0: 4.0}
    if dice.random() < 0.2:
        body["ignore_eos"] = options["ignore_eos"] = True
    if dice.random() < 0.2:
        body["stop_token_ids"], options["stop_token_ids"] = [7, 8], [0, 7, 8] if not body.get("ignore_eos") else [7, 8]
    if dice.random() < 0.3:
        body["speculation"] = dice.choice([{"enabled": False}, *({"method": name} for name in METHODS)])
    if dice.random() < 0.1:
        body["prediction"] = {"type": "content", "content": "def area(width, height):\n    return width"}
    return body, [options | {"sequence": sequence} for sequence in range(body.get("n", 1))]


def decoded(prompt: list[int], options: dict[str, Any]) -> Any:
    sequence = options.pop("sequence")
    (text,) = Decoder(target_of(), profile_of(), "autoregressive").samples(prompt, 1, first=sequence, **options)
    return text


@pytest.mark.slow
def test_texts_of_sixteen_clients_are_those_of_a_decoder_alone(served: Served) -> None:
    dice = random.Random(9)
    asked = [request(dice) for _ in range(200)]
    expected = [[decoded(body["prompt"], options) for options in each] for body, each in asked]

    def ask(body: dict[str, Any]) -> dict[str, Any]:
        for _ in range(100):
            answer = httpx.post(f"{served.url}/v1/completions", json=body, timeout=120)
            if answer.status_code != 429:
                break
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    with ThreadPoolExecutor(16) as clients:
        answers = list(clients.map(ask, [body for body, _ in asked]))
    assert [[choice["text"] for choice in answer["choices"]] for answer in answers] == [
        [text.text for text in texts] for texts in expected
    ]
    assert [[choice["finish_reason"] for choice in answer["choices"]] for answer in answers] == [
        [text.finish_reason for text in texts] for texts in expected
    ]
    assert [answer["usage"]["completion_tokens"] for answer in answers] == [
        sum(len(text.token_ids) for text in texts) for texts in expected
    ]


def test_requests_are_refused_while_the_model_loads() -> None:
    go, begun = threading.Event(), threading.Event()

    def load() -> Engines:
        begun.set()
        assert go.wait(30)
        return Engines(methods_of(), with_settings())

    with serving(load=load, waits=False) as running:
        assert begun.wait(30)
        assert httpx.get(f"{running.url}/health").status_code == 200
        assert (httpx.get(f"{running.url}/ready").status_code, running.service.state) == (503, "loading")
        assert httpx.get(f"{running.url}/figures").json()["state"] == "loading"
        refusal = httpx.post(f"{running.url}/v1/completions", json={"model": "tiny", "prompt": "x"})
        assert (refusal.status_code, refusal.json()["error"]["code"]) == (503, "server_loading")
        go.set()
        assert running.loaded.wait(60)
        assert httpx.get(f"{running.url}/ready").status_code == 200


def test_why_nothing_could_be_loaded_is_kept() -> None:
    def load() -> Engines:
        raise UnknownModel("nothing there")

    with serving(load=load) as running:
        assert running.service.state == "failed"
        assert str(running.service.failure) == "nothing there"
        assert httpx.get(f"{running.url}/ready").status_code == 503
