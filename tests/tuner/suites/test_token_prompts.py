"""Prompts under a tokenizer: turn by turn, with room for what is to come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casspec.runtime.model.target import TargetModel
from casspec.storage.errors import UnsupportedOption
from casspec.tuner.settings import Long
from casspec.tuner.suites.prompts import Prompt
from casspec.tuner.suites.token_prompts import (
    Room,
    TokenPrompt,
    following,
    token_prompts,
    turn_prompt,
    with_room,
)
from tests.tuner.text_generators import letters_target, prompts


@pytest.fixture(scope="module")
def target() -> TargetModel:
    return letters_target()


def talk(*turns: str) -> Prompt:
    return Prompt(id="81", task="chat", turns=turns, half="reporting", kind="chat")


def test_a_conversation_goes_on_from_what_was_answered_until_its_last_turn(target: TargetModel) -> None:
    (first,) = token_prompts(target, [talk("One ", "Two ", "Three ")])
    assert (first.id, first.later_turns) == ("81", ("81#1", "81#2"))
    second = following(target, first, target.tokenizer("abc")["input_ids"])
    assert second is not None
    assert (second.id, second.task, second.answers, second.later_turns) == ("81#1", "chat", ("abc",), ("81#2",))
    assert target.tokenizer.decode(list(second.token_ids)) == "One abcTwo "
    third = following(target, second, target.tokenizer("de")["input_ids"])
    assert third is not None
    assert third.answers == ("abc", "de")
    assert following(target, third, [1, 2]) is None


def test_what_stands_behind_an_end_of_sequence_is_no_part_of_the_answer() -> None:
    target = letters_target()
    answer = target.tokenizer("abXcd")["input_ids"]
    target.library_model.generation_config.eos_token_id = answer[2]
    (first,) = token_prompts(target, [talk("One ", "Two ")])
    second = following(target, first, answer)
    assert second is not None
    assert second.answers == ("ab",)


def test_a_recorded_answer_is_quoted_instead_of_the_models_own(target: TargetModel) -> None:
    recorded = talk("One ", "Two ", "Three ").model_copy(update={"answers": ("yes",)})
    (first,) = token_prompts(target, [recorded])
    second = following(target, first, target.tokenizer("abc")["input_ids"])
    assert second is not None
    assert second.answers == ("yes",)
    third = following(target, second, target.tokenizer("de")["input_ids"])
    assert third is not None
    assert third.answers == ("yes", "de"), "where none is recorded, the model's own"
    said = [target.tokenizer(answer)["input_ids"] for answer in ("abc", "de")]
    assert turn_prompt(target, recorded, said) == third
    assert turn_prompt(target, recorded, said[:1]) == second
    assert turn_prompt(target, recorded, ()) == first


@given(st.lists(st.integers(0, 9), max_size=12), st.integers(-2, 14), st.sampled_from(["skip", "cut"]))
def test_a_prompt_fits_keeps_its_last_tokens_or_is_left_out(ids: list[int], tokens: int, long: Long) -> None:
    fitted = Room(tokens, long).fitted(TokenPrompt("a", "task", tuple(ids)))
    if fitted is None:
        assert not ids or tokens < 1 or (long == "skip" and len(ids) > tokens)
        return
    assert 0 < len(fitted.token_ids) <= tokens
    assert list(fitted.token_ids) == ids[fitted.n_cut :]
    assert fitted.n_cut == 0 or (long == "cut" and len(fitted.token_ids) == tokens)


def test_prompts_without_room_for_the_new_tokens_are_left_out(target: TargetModel) -> None:
    longest = max(prompts(), key=lambda prompt: len(prompt.text))  # a token a character
    room = target.max_context - len(longest.text)
    assert with_room(target, prompts(), room) == prompts()
    assert with_room(target, prompts(), room + 1) == [prompt for prompt in prompts() if prompt.id != longest.id]
    assert with_room(target, prompts(), target.max_context) == []
    assert with_room(target, prompts(), target.max_context - 1, "cut") == prompts()


def test_a_model_without_a_tokenizer_has_no_prompts() -> None:
    target = letters_target()
    target.tokenizer = None
    with pytest.raises(UnsupportedOption, match="'letters' has no tokenizer"):
        token_prompts(target, prompts())
