"""Usage counts each prompt once, and every text's tokens and drafts."""

from __future__ import annotations

from casspec.runtime.decoding.generation import Generation, Statistics
from casspec.runtime.policies.predicted import PREDICTION
from casspec.server.api.fields import StreamOptions
from casspec.server.api.usage import response_usage, running_usage, usage
from casspec.server.replies import Told
from casspec.server.step_thread import Order


def text(sequence: int) -> Told:
    statistics = Statistics("dytc", reused_tokens=4)
    statistics.count([(["root", PREDICTION, PREDICTION, PREDICTION], [0, 1, 2], [7, 8, 9]), (["root"], [0], [3])])
    order = Order([1] * 6, {"prediction": [7, 8, 1, 1, 1]}, sequence)
    return Told(order, [], Generation([7, 8, 9, 3], statistics), 4)


def test_several_texts_of_a_prompt() -> None:
    told = usage([text(0), text(1)], 6)
    assert (told["prompt_tokens"], told["completion_tokens"], told["total_tokens"]) == (6, 8, 14)
    assert told["prompt_tokens_details"] == {"cached_tokens": 4}
    details = told["completion_tokens_details"]
    assert (details["accepted_prediction_tokens"], details["rejected_prediction_tokens"]) == (4, 6)
    assert told["speculation"] == {
        "method": "dytc",
        "steps": 4,
        "drafted_tokens": 6,
        "accepted_tokens": 4,
        "mean_acceptance_length": 2.0,
    }


def test_a_stream_tells_usage_where_it_is_wanted() -> None:
    assert running_usage(StreamOptions(), [text(0)], 6) == {}
    assert running_usage(StreamOptions(include_usage=True), [text(0)], 6) == {"usage": None}
    always = StreamOptions(include_usage=True, continuous_usage_stats=True)
    assert running_usage(always, [text(0)], 6)["usage"]["completion_tokens"] == 4


def test_a_response() -> None:
    told = response_usage(text(0))
    assert (told["input_tokens"], told["output_tokens"], told["total_tokens"]) == (6, 4, 10)
    assert told["input_tokens_details"]["cached_tokens"] == 4


def test_an_order_without_text_used_its_prompt_only() -> None:
    assert usage([Told(Order([1, 2]))], 2)["speculation"]["mean_acceptance_length"] == 0.0
