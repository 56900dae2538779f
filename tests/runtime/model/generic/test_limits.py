"""How long a text may be is what a config says, by whatever name, and no longer than its rotary frequencies hold."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from casspec.runtime.model.generic.limits import UNBOUNDED, context_limit
from tests.runtime.tiny_families import tiny_config

LONG = {"rope_type": "longrope", "original_max_position_embeddings": 64}


@pytest.mark.parametrize(
    ("config", "limit"),
    [
        (tiny_config("llama"), 256),
        (tiny_config("gpt2"), 256),
        (tiny_config("dbrx"), 256),
        (SimpleNamespace(max_seq_len=77), 77),
        (SimpleNamespace(), UNBOUNDED),
        (SimpleNamespace(max_position_embeddings=512, rope_parameters=LONG), 64),
        (SimpleNamespace(max_position_embeddings=512, rope_parameters={"full_attention": LONG}), 64),
        (SimpleNamespace(max_position_embeddings=32, rope_parameters=LONG), 32),
    ],
    ids=["usual", "attribute-map", "other-name", "old-name", "none", "longrope", "longrope-by-kind", "shorter"],
)
def test_the_limit_is_the_configs(config: object, limit: int) -> None:
    assert context_limit(config) == limit
