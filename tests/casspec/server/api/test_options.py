"""Fields become options of the engine, and what is not given comes from the model."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from casspec.server.api.fields import SampledFields
from casspec.server.api.options import check_model, check_stream_options, limit, method_of, sampled_options
from casspec.server.errors import ApiError
from tests.casspec.server.serving import SETTINGS, target_of


class Config:
    def __init__(self, **told: Any) -> None:
        self._told = told

    def to_dict(self) -> dict[str, Any]:
        return self._told


def service(**config: Any) -> Any:
    target = SimpleNamespace(vocab_size=4096, eos_token_ids=(0,), generation_config=Config(**config))
    tokens = SimpleNamespace(check=lambda ids, param: None, encoded=lambda text, special: [len(text), special])
    return SimpleNamespace(engines=SimpleNamespace(target=target), tokens=tokens, settings=SETTINGS)


def options(**given: Any) -> dict[str, Any]:
    body = SampledFields.model_validate({"model": "tiny"} | given)
    return {name: value for name, value in sampled_options(service(), body, 16).items() if value is not None}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {}),
        ({"top_k": -1}, {"top_k": 4096}),
        ({"top_k": 0}, {"top_k": 4096}),
        ({"top_k": 5}, {"top_k": 5}),
        ({"seed": -1}, {"seed": 2**64 - 1}),
        ({"stop_token_ids": [3]}, {"stop_token_ids": [0, 3]}),
        ({"stop_token_ids": [3], "ignore_eos": True}, {"stop_token_ids": [3], "ignore_eos": True}),
        ({"stop": []}, {}),
        ({"max_tokens": 3}, {"max_new_tokens": 3}),
        ({"max_completion_tokens": 3}, {"max_new_tokens": 3}),
        ({"max_tokens": 3, "max_completion_tokens": 3}, {"max_new_tokens": 3}),
        ({"min_tokens": 2}, {"min_new_tokens": 2}),
        ({"logit_bias": {"7": 1}}, {"logit_bias": {7: 1.0}}),
        ({"prediction": {"type": "content", "content": "abc"}}, {"prediction": [3, False]}),
    ],
)
def test_fields_become_options(given: dict[str, Any], expected: dict[str, Any]) -> None:
    assert options(**given) == {"max_new_tokens": 16} | expected


def test_the_length_is_the_requests_then_the_models_then_the_usual() -> None:
    assert limit(service(max_new_tokens=9), 5, 16) == 5
    assert limit(service(max_new_tokens=9), None, 16) == 9
    assert limit(service(), None, 16) == 16


@pytest.mark.parametrize(
    ("speculation", "method"),
    [
        (None, None),
        ({}, None),
        ({"enabled": True}, None),
        ({"method": "suffix"}, "suffix"),
        ({"enabled": False}, "autoregressive"),
        ({"enabled": False, "method": "autoregressive"}, "autoregressive"),
    ],
)
def test_a_request_names_its_method(speculation: dict[str, Any] | None, method: str | None) -> None:
    assert method_of(SampledFields.model_validate({"model": "m", "speculation": speculation})) == method


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"stream_options": {}}, "stream_options"),
        ({"stream": True, "stream_options": {"continuous_usage_stats": True}}, "stream_options.continuous_usage_stats"),
    ],
)
def test_options_of_a_stream_need_one(given: dict[str, Any], param: str) -> None:
    with pytest.raises(ApiError) as refusal:
        check_stream_options(SampledFields.model_validate({"model": "m"} | given))
    assert refusal.value.param == param
    check_stream_options(SampledFields.model_validate({"model": "m", "stream": True, "stream_options": {}}))


def test_a_bias_of_no_token_is_refused() -> None:
    for key in ("a", "-1", "1.0", "9" * 12, "²"):
        with pytest.raises(ApiError, match="token ids"):
            options(logit_bias={key: 1})


def test_only_the_served_model_is_there() -> None:
    check_model(service(), "tiny")
    with pytest.raises(ApiError, match="'tiny' is"):
        check_model(service(), target_of().name)
