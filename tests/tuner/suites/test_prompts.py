"""Halves are dealt by the prompts alone, tasks take turns, and a prompt becomes ids as its kind asks."""

from __future__ import annotations

import json
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import TemplateError

from casspec.storage.errors import SuiteError
from casspec.tuner.suites.prompts import (
    Prompt,
    Suite,
    asked_turns,
    assign_halves,
    prompt_ids,
    reporting_half,
    spread_over_tasks,
    without_refused,
)

tasks_of_ids = st.dictionaries(st.text(min_size=1, max_size=5), st.sampled_from("abc"), min_size=1, max_size=40)


@given(tasks_of_ids, st.randoms(use_true_random=False))
def test_halves_are_equal_within_each_task_and_independent_of_order(tasks: dict[str, str], shuffler):
    pairs = list(tasks.items())
    halves = assign_halves(pairs)
    assert halves.keys() == tasks.keys()
    for task in set(tasks.values()):
        of_task = [halves[prompt_id] for prompt_id in tasks if tasks[prompt_id] == task]
        assert 0 <= of_task.count("tuning") - of_task.count("reporting") <= 1
    shuffler.shuffle(pairs)
    assert assign_halves(pairs) == halves


def test_another_seed_deals_other_halves():
    pairs = [(str(number), "task") for number in range(40)]
    assert assign_halves(pairs, seed=0) != assign_halves(pairs, seed=1)


class WordTokenizer:
    """Counts words; wraps chat messages when it has a template."""

    def __init__(self, chat_template: str | None):
        self.chat_template = chat_template

    def __call__(self, text: str) -> dict[str, list[int]]:
        return {"input_ids": [len(word) for word in text.split()]}

    def apply_chat_template(self, messages, add_generation_prompt, tokenize, return_dict):
        assert (add_generation_prompt, tokenize, return_dict) == (True, True, False)
        markers = {"user": -1, "assistant": -3, "system": -4}
        if self.chat_template == "no system" and messages[0]["role"] == "system":
            raise TemplateError("System role\nnot supported")
        told = [[markers[one["role"]], *self(one["content"])["input_ids"]] for one in messages]
        return [*chain.from_iterable(told), -2]


def test_chat_prompts_use_the_template_and_source_prompts_never_do() -> None:
    turns = ("Write about rain.", "Now without the letter e.")
    question = Prompt(id="81", task="writing", turns=turns, half="tuning", kind="chat")
    source = Prompt(id="a.py", task="completion", turns=("import os",), half="tuning")
    assert prompt_ids(question, WordTokenizer("template")) == [-1, 5, 5, 5, -2]
    assert prompt_ids(question, WordTokenizer(None)) == [5, 5, 5]
    assert prompt_ids(source, WordTokenizer("template")) == [6, 2]
    answered = ["It pours down"]
    user_again, assistant = [-1, 3, 7, 3, 6, 2], [-3, 2, 5, 4]
    assert prompt_ids(question, WordTokenizer("template"), answered) == [-1, 5, 5, 5, *assistant, *user_again, -2]
    assert prompt_ids(question, WordTokenizer(None), answered) == [5, 5, 7, 5, 4, 3, 7, 3, 6, 2]


def test_a_conversation_opens_with_its_first_turn() -> None:
    talk = Prompt(id="81", task="writing", turns=("Hello.", "And then?"), half="reporting")
    assert talk.opening().turns == ("Hello.",)
    assert talk.opening().text == talk.text == "Hello."


def test_a_conversation_ends_where_it_is_asked_to_with_the_answers_before() -> None:
    talk = Prompt(id="81", task="a", turns=("b", "c", "d"), answers=("B", "C"), half="reporting")
    assert [(until.turns, until.answers) for until in map(talk.until, (1, 2, 3))] == [
        (("b",), ()),
        (("b", "c"), ("B",)),
        (talk.turns, talk.answers),
    ]
    assert [talk.turn_id(turn) for turn in range(3)] == ["81", "81#1", "81#2"]
    assert asked_turns([talk], "all") == [talk]
    assert asked_turns([talk], "first") == [talk.opening()]


def test_what_the_system_says_comes_first_and_a_template_may_refuse_it() -> None:
    told = Prompt(id="x", task="a", turns=("Name rivers.",), system="Be brief.", half="tuning", kind="chat")
    assert prompt_ids(told, WordTokenizer("template")) == [-4, 2, 6, -1, 4, 7, -2]
    assert prompt_ids(told, WordTokenizer(None)) == [2, 6, 4, 7]
    with pytest.raises(
        SuiteError, match=r"prompt 'x': .* refuses this conversation: System role not supported; take such prompts out"
    ):
        prompt_ids(told, WordTokenizer("no system"))


def test_a_suite_with_one_prompt_a_task_has_no_reporting_half() -> None:
    one = Prompt(id="1", task="qa", turns=("Why?",), half="tuning")
    other = one.model_copy(update={"id": "2", "half": "reporting"})
    assert reporting_half(Suite(name="two", prompts=(one, other))) == (other,)
    with pytest.raises(SuiteError, match="suite 'one' has no reporting half"):
        reporting_half(Suite(name="one", prompts=(one,)))


def test_what_a_file_does_not_record_is_not_in_the_content() -> None:
    plain = Prompt(id="1", task="qa", turns=("Why?",), half="tuning")
    for field, value in (("system", "Be brief."), ("answers", ("So.",))):
        assert plain.model_copy(update={field: value}).content_hash() != plain.content_hash()


def test_the_content_of_a_suite_is_its_prompts_and_halves_and_not_what_is_told_of_it() -> None:
    prompt = Prompt(id="1", task="qa", turns=("Why?",), half="tuning")
    suite = Suite(name="a", prompts=(prompt,))
    told = Suite(name="b", prompts=(prompt,), notes=("a file is missing",))
    other_half = Suite(name="a", prompts=(prompt.model_copy(update={"half": "reporting"}),))
    assert suite.content_hash() == told.content_hash() != other_half.content_hash()
    assert (suite.half("tuning"), suite.half("reporting")) == ((prompt,), ())


class ToolTokenizer(WordTokenizer):
    """Takes tools, and refuses a message of role tool where it says so."""

    def apply_chat_template(self, messages, tools=(), **arguments):
        if self.chat_template == "tools, no answers" and any(one["role"] == "tool" for one in messages):
            raise TemplateError("no answers")
        told = chain.from_iterable(self(one["content"])["input_ids"] for one in messages)
        return [len(tools), *told]


def with_tools(place: int, *said: str, tools: int = 1) -> Prompt:
    asked = {"messages": [{"role": role, "content": "a tree"} for role in said], "tools": [{}] * tools}
    return Prompt(
        id=str(place), task="chat", turns=("a tree",), half="tuning", kind="chat", conversation=json.dumps(asked)
    )


def test_a_conversation_with_tools_goes_through_the_template_with_them() -> None:
    assert prompt_ids(with_tools(1, "user", "tool"), ToolTokenizer("tools")) == [1, 1, 4, 1, 4]
    assert prompt_ids(with_tools(1, "user", "tool", tools=0), ToolTokenizer("tools")) == [0, 1, 4, 1, 4]
    for template in (None, "template", "tools, no answers"):
        with pytest.raises(SuiteError, match=r"prompt '1': .*template"):
            prompt_ids(with_tools(1, "user", "tool"), ToolTokenizer(template))


def test_conversations_that_a_template_does_not_take_are_left_out_and_counted() -> None:
    plain = Prompt(id="0", task="chat", turns=("a tree",), half="tuning", kind="chat")
    suite = Suite(name="s", prompts=(plain, with_tools(1, "user"), with_tools(2, "user", "tool")), notes=("read",))
    assert without_refused(suite, ToolTokenizer("tools")) is suite
    left = without_refused(suite, ToolTokenizer("tools, no answers"))
    assert [prompt.id for prompt in left.prompts] == ["0", "1"]
    assert left.notes[0] == "read"
    assert left.notes[1].startswith("suite 's': 1 conversation with tools left out: the model's chat template refuses")
    left = without_refused(suite, ToolTokenizer("template"))
    assert left.notes[1].startswith(
        "suite 's': 2 conversations with tools left out: the model's chat template has no place"
    )
    with pytest.raises(SuiteError, match="holds conversations with tools only"):
        without_refused(suite.model_copy(update={"prompts": suite.prompts[1:]}), ToolTokenizer(None))


def test_a_suite_without_tools_goes_by_the_hash_it_always_had() -> None:
    plain = Prompt(id="0", task="chat", turns=("a tree",), half="tuning", kind="chat")
    assert "conversation" not in json.dumps(plain.model_dump(exclude_defaults=True))
    assert with_tools(0, "user").content_hash() != plain.content_hash()


@given(st.lists(st.sampled_from("abc"), max_size=12), st.integers(0, 14))
def test_the_first_prompts_are_spread_evenly_over_the_tasks_in_the_order_of_the_suite(
    tasks: list[str], count: int
) -> None:
    suite = [Prompt(id=str(place), task=task, turns=("x",), half="tuning") for place, task in enumerate(tasks)]
    chosen = spread_over_tasks(suite, count)
    assert len(chosen) == min(count, len(suite))
    assert [prompt for prompt in suite if prompt in chosen] == chosen
    counts = {task: sum(prompt.task == task for prompt in chosen) for task in tasks}
    for task, taken in counts.items():
        assert taken == tasks.count(task) or taken + 1 >= max(counts.values())
        of_task = [prompt for prompt in suite if prompt.task == task]
        assert [prompt for prompt in chosen if prompt.task == task] == of_task[:taken]
    assert spread_over_tasks(suite, None) == suite
