"""The questions that all peers are asked."""

from __future__ import annotations

import pytest

from benchmarks.peers.prompts import LONG_NEW_TOKENS, context_for, long_prompt, questions
from casspec.storage.errors import SuiteError
from casspec.tuner.suites.prompts import Prompt


class Tokenizer:
    """A token a word."""

    chat_template = None

    def __call__(self, text: str) -> dict[str, list[int]]:
        return {"input_ids": [len(word) for word in text.split()]}


PROMPTS = [
    Prompt(id=f"{task}{n}", task=task, turns=("word " * n,), half="reporting", kind="chat")
    for task in ("qa", "writing")
    for n in (3, 40)
]


def test_each_prompt_is_asked_greedily_and_sampled_with_the_same_ids() -> None:
    asked = questions(PROMPTS, Tokenizer(), 2, 16, 4096, with_long=False)
    assert [(each.id, each.kind, each.temperature) for each in asked] == [
        (name, kind, temperature)
        for name in ("qa3", "writing3")
        for kind, temperature in (("greedy", 0.0), ("sample", 0.7))
    ]
    assert asked[0].ids == asked[1].ids
    assert asked[0].request() == {"ids": asked[0].ids, "tokens": 16, "temperature": 0.0, "seed": 0}
    assert context_for(asked) == 64


def test_prompts_without_room_are_left_out() -> None:
    asked = questions(PROMPTS, Tokenizer(), 4, 16, 50, with_long=False)
    assert {each.id for each in asked} == {"qa3", "writing3"}
    with pytest.raises(SuiteError, match="leaves room for 49"):
        questions(PROMPTS, Tokenizer(), 4, 49, 50, with_long=False)


def test_a_long_prompt_is_nearly_as_long_as_wanted() -> None:
    assert 984 <= len(long_prompt(PROMPTS, Tokenizer(), 1000)) <= 1000
    *_, long = questions(PROMPTS, Tokenizer(), 1, 16, 500, with_long=True)
    assert long.kind == "long"
    assert 470 <= len(long.ids) <= 500 - LONG_NEW_TOKENS
