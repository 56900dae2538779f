"""Documents of engines."""

from __future__ import annotations

from typing import Any

import pytest

from casspec.storage.engines.documents import (
    PLAIN,
    EngineChoice,
    EngineMeasurement,
    EngineResult,
    EngineSetting,
    EngineSubject,
)
from tests.storage import samples

NGRAM = EngineSetting(method="ngram", parameters={"prompt_lookup_max": 5, "num_speculative_tokens": 4})


def subject(**changes: Any) -> EngineSubject:
    fields: dict[str, Any] = {
        "model": samples.model(),
        "device": samples.device(),
        "engine": "vllm",
        "engine_version": "0.33.0",
        "dtype": "auto",
        "suite": "chat",
        "suite_sha256": "s" * 64,
        "prompts": 12,
        "tokens": 64,
        "concurrency": (1, 4),
    }
    return EngineSubject(**fields | changes)


def choice(concurrency: int = 1, gain: float = 1.3, setting: EngineSetting = NGRAM) -> EngineChoice:
    return EngineChoice(
        concurrency=concurrency,
        setting=setting,
        gain=gain,
        low=gain - 0.1,
        high=gain + 0.1,
        pairs=6,
        tokens_per_second=40.0 * gain,
        plain_tokens_per_second=40.0,
        predicted_gain=1.4,
        acceptance_length=2.0,
    )


def result(**changes: Any) -> EngineResult:
    chosen = (choice(1), choice(4, 1.1))
    fields: dict[str, Any] = {
        "subject": subject(),
        "choices": chosen,
        "configuration": {"method": "ngram", **NGRAM.parameters},
        "configured": chosen,
        "refuses": ("requests with min_p are refused",),
    }
    return EngineResult(**fields | changes)


def measurement(**changes: Any) -> EngineMeasurement:
    fields: dict[str, Any] = {"setting": NGRAM, "concurrency": 4, "tokens": 200, "seconds": 4.0, "requests": 8}
    return EngineMeasurement(**fields | changes)


@pytest.mark.parametrize(
    ("change", "is_same"),
    [
        ({"suite": "another name"}, True),
        ({"engine_version": "0.34.0"}, False),
        ({"concurrency": (1, 8)}, False),
        ({"words": ("--max-model-len=512",)}, False),
        ({"tried": (NGRAM,)}, True),
        ({"seed": 1}, False),
    ],
)
def test_a_search_is_another_where_its_figures_would_be(change: dict[str, Any], is_same: bool) -> None:
    assert (subject(**change).content_hash() == subject().content_hash()) is is_same


def test_settings_are_equal_whatever_the_order_of_their_parameters() -> None:
    turned = EngineSetting(method="ngram", parameters=dict(reversed(NGRAM.parameters.items())))
    assert turned.content_hash() == NGRAM.content_hash()
    assert NGRAM.name == "ngram num_speculative_tokens=4 prompt_lookup_max=5"
    assert PLAIN.is_off
    assert not NGRAM.is_off


def test_a_measurement_tells_speed_and_acceptance_where_something_was_drafted() -> None:
    assert measurement().tokens_per_second == 50.0
    assert measurement().acceptance_length is None
    assert measurement(drafts=0, accepted_tokens=0).acceptance_length is None
    assert measurement(drafts=10, accepted_tokens=15).acceptance_length == 2.5


def test_documents_come_back_as_they_were() -> None:
    for document in (subject(tried=(NGRAM,)), result(), measurement(accepted_by_position=(3, 1))):
        assert type(document).model_validate_json(document.canonical_json()) == document


def test_a_result_is_of_the_same_weights_under_any_name() -> None:
    assert result().is_of(samples.model(name="elsewhere"))
    assert not result().is_of(samples.model(weights_sha256="x" * 64))
    assert result().result_id == result().content_hash()[:12]
