"""/v1/completions through OpenAI's own client: every field, whole and as a stream."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.casspec.server.serving import Served, alone, target_of

PROMPT = "def area(width, height):\n    return"
IDS = [5, 9, 300, 41, 7, 9, 300]


def asked(served: Served, **fields: Any) -> Any:
    return served.client().completions.create(**{"model": "tiny", "prompt": PROMPT, "max_tokens": 12} | fields)


def streamed(served: Served, **fields: Any) -> tuple[list[str], list[Any]]:
    """Texts by index, and all chunks."""
    chunks = list(asked(served, stream=True, **fields))
    texts: dict[int, str] = {}
    for chunk in chunks:
        for choice in chunk.choices:
            texts[choice.index] = texts.get(choice.index, "") + choice.text
    return [texts[index] for index in sorted(texts)], chunks


def encoded(text: str) -> list[int]:
    return target_of().tokenizer.encode(text)


FIELDS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"temperature": 0.8, "seed": 3}, {"temperature": 0.8, "seed": 3}),
    ({"temperature": 0.8, "seed": -3}, {"temperature": 0.8, "seed": 2**64 - 3}),
    ({"temperature": 1.0, "seed": 1, "top_p": 0.5}, {"temperature": 1.0, "seed": 1, "top_p": 0.5}),
    ({"temperature": 1.0, "seed": 1, "extra_body": {"top_k": 4}}, {"temperature": 1.0, "seed": 1, "top_k": 4}),
    ({"temperature": 1.0, "seed": 1, "extra_body": {"top_k": -1}}, {"temperature": 1.0, "seed": 1}),
    ({"temperature": 1.0, "seed": 1, "extra_body": {"min_p": 0.2}}, {"temperature": 1.0, "seed": 1, "min_p": 0.2}),
    (
        {"temperature": 1.0, "seed": 1, "extra_body": {"typical_p": 0.3}},
        {"temperature": 1.0, "seed": 1, "typical_p": 0.3},
    ),
    ({"extra_body": {"repetition_penalty": 1.5}}, {"repetition_penalty": 1.5}),
    ({"presence_penalty": 1.5}, {"presence_penalty": 1.5}),
    ({"frequency_penalty": 1.5}, {"frequency_penalty": 1.5}),
    ({"logit_bias": {"77": 100, "78": 99.5}}, {"logit_bias": {77: 100.0, 78: 99.5}}),
    ({"logit_bias": {"0": 100}}, {"logit_bias": {0: 100.0}}),
    ({"logit_bias": {"0": 100}, "extra_body": {"ignore_eos": True}}, {"logit_bias": {0: 100.0}, "ignore_eos": True}),
    ({"logit_bias": {"0": 100}, "extra_body": {"min_tokens": 3}}, {"logit_bias": {0: 100.0}, "min_new_tokens": 3}),
    ({"max_tokens": 0}, {"max_new_tokens": 0}),
    ({"max_tokens": None, "extra_body": {"max_completion_tokens": 5}}, {"max_new_tokens": 5}),
]


@pytest.mark.parametrize(("fields", "options"), FIELDS)
def test_a_field_does_what_the_option_does(served: Served, fields: dict[str, Any], options: dict[str, Any]) -> None:
    expected = alone(encoded(PROMPT), **{"max_new_tokens": 12} | options)
    answer = asked(served, **fields)
    assert answer.choices[0].text == expected.text
    assert answer.choices[0].finish_reason == expected.finish_reason
    assert answer.usage.completion_tokens == len(expected.token_ids)
    texts, _ = streamed(served, **fields)
    assert texts == [expected.text]


def test_stops_end_a_text(served: Served) -> None:
    expected = alone(encoded(PROMPT), max_new_tokens=12)
    words = expected.text[3:5], "nowhere"
    answer = asked(served, stop=list(words))
    assert answer.choices[0].text == expected.text.split(words[0])[0]
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].stop_reason == words[0]
    assert asked(served, stop=words[0]).choices[0].text == answer.choices[0].text
    assert streamed(served, stop=words[0])[0] == [answer.choices[0].text]
    token = expected.token_ids[4]
    ended = asked(served, extra_body={"stop_token_ids": [token]})
    assert ended.usage.completion_tokens == expected.token_ids.index(token) + 1
    assert ended.choices[0].stop_reason == token


def test_prompts_come_as_text_or_tokens_one_or_many(served: Served) -> None:
    one, other = alone(IDS, max_new_tokens=6).text, alone(encoded("import os"), max_new_tokens=6).text
    for prompt, expected in [
        (IDS, [one]),
        ([IDS, IDS], [one, one]),
        (["import os"], [other]),
        ("import os", [other]),
    ]:
        answer = asked(served, prompt=prompt, max_tokens=6)
        assert [choice.text for choice in answer.choices] == expected
        assert [choice.index for choice in answer.choices] == list(range(len(expected)))
        assert streamed(served, prompt=prompt, max_tokens=6)[0] == expected
    assert asked(served, prompt=[IDS, IDS], max_tokens=6).usage.prompt_tokens == 2 * len(IDS)


def test_several_texts_of_a_prompt_are_its_noise_sequences(served: Served) -> None:
    from casspec.runtime.decode import Decoder

    texts = Decoder(target_of(), None, "autoregressive").samples(
        encoded(PROMPT), 3, max_new_tokens=8, temperature=0.9, seed=5
    )
    fields = {"n": 3, "temperature": 0.9, "seed": 5, "max_tokens": 8}
    answer = asked(served, **fields, best_of=3)
    assert [choice.text for choice in answer.choices] == [text.text for text in texts]
    assert answer.usage.prompt_tokens == len(encoded(PROMPT))
    assert streamed(served, **fields)[0] == [text.text for text in texts]


def test_logprobs_are_the_models(served: Served) -> None:
    expected = alone(encoded(PROMPT), max_new_tokens=6, logprobs=2).logprobs
    told = asked(served, logprobs=2, max_tokens=6).choices[0].logprobs
    assert told.token_logprobs == pytest.approx([one.raw_logprob for one in expected])
    assert all(len(top) == 2 for top in told.top_logprobs)
    assert told.text_offset[:2] == [0, len(told.tokens[0])]
    _, chunks = streamed(served, logprobs=2, max_tokens=6)
    parts = [chunk.choices[0].logprobs for chunk in chunks if chunk.choices[0].logprobs]
    assert [value for part in parts for value in part.token_logprobs] == pytest.approx(told.token_logprobs)
    assert [offset for part in parts for offset in part.text_offset] == told.text_offset


def test_a_prompt_is_echoed_with_its_probabilities(served: Served) -> None:
    plain = asked(served, prompt=IDS, max_tokens=4)
    echoed = asked(served, prompt=IDS, max_tokens=4, echo=True)
    assert echoed.choices[0].text == target_of().tokenizer.decode(IDS) + plain.choices[0].text
    scored = asked(served, prompt=IDS, max_tokens=4, echo=True, logprobs=1)
    told = scored.choices[0].logprobs
    assert scored.choices[0].text == echoed.choices[0].text
    assert len(told.tokens) == len(IDS) + 4
    assert told.token_logprobs[0] is None
    assert told.top_logprobs[0] is None
    assert all(token in top for token, top in zip(told.tokens[1:], told.top_logprobs[1:], strict=True))
    only = asked(served, prompt=IDS, max_tokens=0, echo=True, logprobs=1)
    assert only.choices[0].logprobs.token_logprobs[1:] == pytest.approx(told.token_logprobs[1 : len(IDS)])
    texts, chunks = streamed(served, prompt=IDS, max_tokens=4, echo=True, logprobs=1)
    parts = [chunk.choices[0].logprobs for chunk in chunks if chunk.choices[0].logprobs]
    assert texts == [echoed.choices[0].text]
    assert [value for part in parts for value in part.token_logprobs][1:] == pytest.approx(told.token_logprobs[1:])
    assert streamed(served, prompt=IDS, max_tokens=4, echo=True)[0] == texts
    assert asked(served, prompt=PROMPT, max_tokens=1, echo=True).choices[0].text.startswith(PROMPT)


def test_usage_comes_at_the_end_of_a_stream_that_asks_for_it(served: Served, unhurried: None) -> None:
    _, chunks = streamed(served, stream_options={"include_usage": True})
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == 12
    assert all(chunk.usage is None for chunk in streamed(served)[1])
    continuous = {"include_usage": True, "continuous_usage_stats": True}
    _, chunks = streamed(served, max_tokens=100, stream_options=continuous)
    counts = [chunk.usage.completion_tokens for chunk in chunks]
    assert counts == sorted(counts)
    assert (len(set(counts)) > 1, counts[-1]) == (True, 100)


def test_usage_tells_what_was_known_and_what_speculation_did(served: Served) -> None:
    prompt = [7, 8, 9, 10] * 12
    asked(served, prompt=prompt, max_tokens=20)
    usage = asked(served, prompt=prompt, max_tokens=20).usage
    assert usage.prompt_tokens_details.cached_tokens == len(prompt) - 1
    told = usage.speculation
    assert told["drafted_tokens"] >= told["accepted_tokens"]
    assert told["mean_acceptance_length"] == pytest.approx(20 / told["steps"], abs=1e-3)


@pytest.mark.parametrize("speculation", [{"enabled": False}, {"method": "suffix"}, {"enabled": True}])
def test_speculation_is_chosen_by_the_request_and_changes_no_text(served: Served, speculation: dict[str, Any]) -> None:
    answer = asked(served, extra_body={"speculation": speculation})
    assert answer.choices[0].text == alone(encoded(PROMPT), max_new_tokens=12).text
    told = answer.usage.speculation
    if not speculation.get("enabled", True):
        assert (told["method"], told["drafted_tokens"], told["steps"]) == ("autoregressive", 0, 12)
    elif "method" in speculation:
        assert told["method"] == "suffix"


def test_a_prediction_is_drafted(served: Served) -> None:
    text = asked(served, max_tokens=40, extra_body={"speculation": {"enabled": False}}).choices[0].text
    usage = asked(
        served, max_tokens=40, extra_body={"prediction": {"type": "content", "content": text + " and more"}}
    ).usage
    details = usage.completion_tokens_details
    length = len(target_of().tokenizer.encode(text + " and more", add_special_tokens=False))
    assert details.accepted_prediction_tokens + details.rejected_prediction_tokens == length


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"suffix": "x"}, "suffix"),
        ({"best_of": 4}, "best_of"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": 1e-9}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"n": 0}, "n"),
        ({"n": 500}, "n"),
        ({"stop": [""]}, "stop"),
        ({"stop": [3]}, "stop"),
        ({"logprobs": 100}, "logprobs"),
        ({"logit_bias": {"x": 1}}, "logit_bias"),
        ({"logit_bias": {"99999": 1}}, "logit_bias"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [[]]}, "prompt"),
        ({"prompt": [99999]}, "prompt"),
        ({"prompt": [1] * 600}, "prompt"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"extra_body": {"speculation": {"method": "quantum"}}}, "speculation"),
        ({"extra_body": {"speculation": {"enabled": False, "method": "suffix"}}}, "speculation.method"),
        ({"extra_body": {"beam_width": 4}}, "beam_width"),
        ({"extra_body": {"response_format": {"type": "yaml"}}}, "response_format"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(served: Served, fields: dict[str, Any], param: str) -> None:
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as refusal:
            asked(served, **({"stream": True} if stream and "stream_options" not in fields else {}), **fields)
        assert refusal.value.param is not None
        assert refusal.value.param.startswith(param)
        assert refusal.value.type == "invalid_request_error"


def test_another_model_is_not_found(served: Served) -> None:
    with pytest.raises(openai.NotFoundError, match="'tiny' is") as refusal:
        asked(served, model="gpt-5")
    assert refusal.value.code == "model_not_found"
