"""Which models are covered; everything else is refused by name."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import AutoConfig

from casspec.runtime.model.families import family_of
from casspec.storage.errors import UnsupportedModel


@pytest.mark.parametrize(
    ("family", "changes", "named"),
    [
        ("mistral", {"sliding_window": 64}, "sliding window of 64"),
        ("qwen2", {"sliding_window": 64, "use_sliding_window": True, "max_window_layers": 2}, "sliding window of 64"),
        ("qwen3", {"sliding_window": 64, "use_sliding_window": True, "max_window_layers": 0}, "sliding window of 64"),
        ("llama", {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}}, "'dynamic'"),
        (
            "llama",
            {
                "rope_parameters": {
                    "rope_type": "longrope",
                    "rope_theta": 1e4,
                    "short_factor": [1.0] * 4,
                    "long_factor": [2.0] * 4,
                    "original_max_position_embeddings": 64,
                }
            },
            "'longrope'",
        ),
        ("gpt2", {}, "'gpt2'"),
        ("gemma", {}, "'gemma'"),
    ],
)
def test_what_is_not_covered_is_refused_by_name(family: str, changes: dict[str, Any], named: str) -> None:
    with pytest.raises(UnsupportedModel, match=named) as refusal:
        family_of(AutoConfig.for_model(family, max_position_embeddings=256, **changes))
    assert "\n" not in str(refusal.value)


def test_a_window_that_is_switched_off_is_no_obstacle() -> None:
    config = AutoConfig.for_model("qwen2", sliding_window=64, use_sliding_window=False, max_position_embeddings=256)
    assert family_of(config).name == "qwen2"
