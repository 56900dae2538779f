"""What cannot be decoded with drafts is refused by name, with the reason and what to do."""

from __future__ import annotations

import pytest
from transformers import AutoConfig

from casspec.runtime.model.generic.refusals import refused
from casspec.runtime.model.target import TargetModel
from casspec.storage.errors import UnsupportedModel
from tests.runtime.tiny_families import FAMILIES, REFUSED, tiny_config, tiny_model

CAPPED = {"llama-dynamic", "phi3-longrope"}
"""Decoded up to the length at which their rotary frequencies would change."""

BY_CONFIG = [family.name for family in REFUSED if refused(tiny_config(family.name))]
BY_WATCHING = [family.name for family in REFUSED if family.name not in {*BY_CONFIG, *CAPPED}]


@pytest.mark.parametrize("name", BY_CONFIG)
def test_a_config_is_enough_to_refuse(name: str) -> None:
    config = tiny_config(name)
    reason = refused(config)
    assert reason is not None
    assert f"'{config.model_type}' cannot be decoded with drafts: " in reason
    assert reason.endswith("decode it with transformers' own generate")
    assert "\n" not in reason


@pytest.mark.parametrize("name", BY_WATCHING)
def test_what_no_config_tells_is_refused_in_the_same_words(name: str) -> None:
    with pytest.raises(
        UnsupportedModel, match=r"cannot be decoded with drafts: .*; decode it with transformers' own generate"
    ):
        TargetModel(tiny_model(name))


def test_enough_are_refused_and_nothing_that_is_tested() -> None:
    assert len(BY_CONFIG) > 20
    assert BY_WATCHING
    assert [family.name for family in FAMILIES if refused(tiny_config(family.name))] == []


def test_a_model_with_an_encoder_is_refused() -> None:
    assert "has an encoder" in str(refused(AutoConfig.for_model("t5")))


@pytest.mark.parametrize("name", sorted(CAPPED))
def test_rotary_frequencies_that_change_limit_the_text(name: str) -> None:
    assert TargetModel(tiny_model(name)).max_context == 32


def test_attention_that_takes_no_mask_of_ours_is_refused_before_it_runs() -> None:
    model = tiny_model("mixtral")
    model.set_attn_implementation("flex_attention")
    with pytest.raises(
        UnsupportedModel, match=r"'flex_attention' takes no mask .*; load it with attn_implementation='sdpa'"
    ):
        TargetModel(model)


def test_the_lean_forward_attends_by_itself_whatever_the_library_would_run() -> None:
    model = tiny_model("llama")
    model.set_attn_implementation("flex_attention")
    assert TargetModel(model).backend == "lean"
