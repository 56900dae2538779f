"""Bodies hold what is named, of the types it should have, and Unicode."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from casspec.server.api.fields import SampledFields


@pytest.mark.parametrize(
    "given",
    [
        {"temperature": "0"},
        {"temperature": float("nan")},
        {"n": True},
        {"n": 1.0},
        {"user": "\ud800"},
        {"logit_bias": {"\udfff": 1}},
        {"stop": ["a", 1]},
        {"stream_options": {"include_usage": True, "more": 1}},
        {"unknown": None},
    ],
)
def test_anything_else_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SampledFields.model_validate({"model": "m"} | given)


def test_whole_numbers_are_numbers() -> None:
    assert SampledFields.model_validate({"model": "m", "temperature": 1, "logit_bias": {"1": -5}}).temperature == 1.0


def test_what_is_nested_too_deeply_is_refused() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ValidationError):
        SampledFields.model_validate({"model": "m", "stop": deep})
    while deep:
        deep = deep.pop()
