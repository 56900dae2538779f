"""A tiny model of letters and prompts under its tokenizer."""

from __future__ import annotations

import pytest

from casspec.runtime.model.target import TargetModel
from casspec.tuner.suites.token_prompts import TokenPrompt, token_prompts
from tests.tuner.text_generators import letters_target, prompts


@pytest.fixture(scope="module")
def target() -> TargetModel:
    return letters_target()


@pytest.fixture(scope="module")
def asked(target: TargetModel) -> list[TokenPrompt]:
    return token_prompts(target, prompts())
