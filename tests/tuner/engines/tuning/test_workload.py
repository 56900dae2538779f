"""What is asked, and together."""

from __future__ import annotations

from dataclasses import replace

import pytest

from casspec.storage.errors import SuiteError
from casspec.tuner.engines.tuning.workload import GROUPS, LEAST_GROUP, Workload, copies, in_turns, workload
from casspec.tuner.suites.prompts import Prompt, Suite
from tests.tuner.engines.tuning import made_up


class Tokenizer:
    """A token a letter."""

    chat_template = None

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        return {"input_ids": [ord(letter) for letter in text]}


def suite() -> Suite:
    lengths = {"a": 5, "b": 90, "c": 7, "d": 9}
    prompts = tuple(
        Prompt(id=name, task="t", turns=("x" * length,), half="reporting" if name == "d" else "tuning")
        for name, length in lengths.items()
    )
    return Suite(name="s", prompts=prompts)


def test_only_prompts_of_the_tuning_half_that_leave_room_are_asked() -> None:
    found = workload(suite(), Tokenizer(), 10, 20, 64, (1,))
    assert [request.id for request in found.requests] == ["a", "c"]
    assert found.context == 27
    with pytest.raises(SuiteError, match="leaves room for 60"):
        workload(suite(), Tokenizer(), 10, 60, 64, (1,))


@pytest.mark.parametrize("concurrency", [1, 4, 16])
def test_groups_are_alike_and_large_enough(concurrency: int) -> None:
    groups = made_up.workload(n=7).groups(concurrency)
    assert len(groups) == GROUPS
    assert {len(group) for group in groups} == {max(LEAST_GROUP, concurrency)}
    assert len({request.id for group in groups for request in group}) == 7


def test_tasks_take_turns() -> None:
    requests = made_up.workload(n=6).requests
    ordered = in_turns(sorted(requests, key=lambda each: each.task))
    assert [each.task for each in ordered] == ["a", "b"] * 3
    assert sorted(ordered, key=lambda each: each.id) == sorted(requests, key=lambda each: each.id)


def test_what_an_engine_wrote_is_cut_as_the_model_cuts_it() -> None:
    found = workload(suite(), Tokenizer(), 10, 20, 64, (1,))
    assert found.ids("ab") == (ord("a"), ord("b"))
    assert made_up.workload().ids("ab") == ()


def test_where_there_are_too_few_prompts_all_come_again() -> None:
    made = made_up.workload(n=3)
    assert made.asked(2) == made.asked(3) == list(made.requests)
    assert made.asked(7) == [*made.requests] * 3
    assert copies(made.asked(7)) == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert made.comes_again(1)


def test_no_prompt_is_asked_at_two_numbers_of_requests_at_a_time() -> None:
    made = replace(made_up.workload(n=25), concurrency=(1, 2))
    parts = [{each.id for group in made.groups(at_once) for each in group} for at_once in made.concurrency]
    assert list(map(len, parts)) == [12, 12]
    assert not parts[0] & parts[1]
    assert not any(map(made.comes_again, made.concurrency))
    few = replace(made_up.workload(n=1), concurrency=(1, 2))
    assert few.of(1) == few.of(2) == few.requests


def test_an_engine_is_warmed_by_texts_that_are_not_asked_afterwards() -> None:
    made = made_up.workload(n=3)
    warm = made.warming(4)
    assert len(warm) == 4
    assert not {each.ids for each in warm} & {each.ids for each in made.requests}
    assert {len(each.ids) for each in warm} == {len(each.ids) for each in made.requests}


def test_room_is_what_the_context_leaves() -> None:
    made = workload(suite(), Tokenizer(), 10, 20, 64, (1,))
    assert made.max_context == 64
    assert [each.id for each in made.with_room(58)] == ["a"]
    assert (made.room(made.requests, 20), made.room(made.requests, 256)) == (20, 57)
    endless = Workload(made.requests, 20)
    assert (endless.with_room(10**6), endless.room(made.requests, 256)) == (made.requests, 256)
