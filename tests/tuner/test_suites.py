from __future__ import annotations

import json
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casspec.storage.errors import SuiteError
from casspec.tuner.suites.load import load_suite, located, prompt_ids
from casspec.tuner.suites.prompts import assign_halves
from casspec.tuner.suites.repetition import repetition

QUESTIONS = [
    {"question_id": 81, "category": "writing", "turns": ["Write about rain.", "Now without the letter e."]},
    {"question_id": 121, "category": "coding", "turns": ["Sum a list.", "Now in one line."]},
    {"question_id": 161, "category": "translation", "turns": ["Translate: Guten Tag"], "reference": ["Good day"]},
    {"question_id": 481, "category": "coding", "turns": ["Reverse a list."]},
]


def write_lines(path: Path, rows: list) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


def test_spec_bench_questions_are_read_with_all_their_turns(tmp_path: Path):
    suite = load_suite(write_lines(tmp_path / "questions.jsonl", QUESTIONS))
    assert [prompt.id for prompt in suite.prompts] == ["81", "121", "161", "481"]
    assert suite.prompts[0].turns == ("Write about rain.", "Now without the letter e.")
    assert suite.prompts[0].text == "Write about rain."
    assert suite.name == "questions"


def test_a_suite_is_located_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_lines(tmp_path / "questions.jsonl", QUESTIONS)
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path)
    here = located("questions.jsonl")
    monkeypatch.chdir(tmp_path / "below")
    assert located("../questions.jsonl") == here == str(tmp_path / "questions.jsonl")
    assert load_suite(here).name == "questions"
    assert located("reference") == "reference"


def test_mt_bench_categories_are_reported_together_but_a_users_own_are_not(tmp_path: Path):
    suite = load_suite(write_lines(tmp_path / "questions.jsonl", QUESTIONS))
    assert [prompt.task for prompt in suite.prompts] == ["mt_bench", "mt_bench", "translation", "coding"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("{not json", "not valid JSON"),
        ("[1, 2]", "got a JSON list; expected an object"),
        ({"category": "qa", "turns": ["a"]}, "question_id is None; expected a number or a string"),
        ({"question_id": 1, "turns": ["a"]}, "category is None"),
        ({"question_id": 1, "category": "overall", "turns": ["a"]}, "stands for all tasks together"),
        ({"question_id": 1, "category": "qa"}, "turns is None; expected a list"),
        ({"question_id": 1, "category": "qa", "turns": []}, "turns is \\[\\]"),
        ({"question_id": 1, "category": "qa", "turns": ["a", 3]}, "expected a list of one or more non-empty strings"),
        ({"question_id": 161, "category": "qa", "turns": ["a"]}, "question_id 161 was already used in line 3"),
    ],
)
def test_malformed_line_is_named_by_its_number(tmp_path: Path, line, expected: str):
    path = write_lines(tmp_path / "questions.jsonl", [*QUESTIONS, "", line])
    with pytest.raises(SuiteError, match=f"questions.jsonl, line 6: .*{expected}") as caught:
        load_suite(path)
    assert "\n" not in str(caught.value)


def test_missing_empty_and_binary_files_are_refused(tmp_path: Path):
    with pytest.raises(SuiteError, match=r"no suite at 'nowhere\.jsonl': expected 'reference', a JSONL file"):
        load_suite("nowhere.jsonl")
    with pytest.raises(SuiteError, match="holds no prompts"):
        load_suite(write_lines(tmp_path / "empty.jsonl", [""]))
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SuiteError, match="expected a UTF-8 file of JSON lines"):
        load_suite(tmp_path / "binary.jsonl")


def test_content_hash_follows_the_prompts_and_not_the_file_name(tmp_path: Path):
    first = load_suite(write_lines(tmp_path / "a.jsonl", QUESTIONS))
    renamed = load_suite(write_lines(tmp_path / "b.jsonl", QUESTIONS))
    edited = load_suite(write_lines(tmp_path / "c.jsonl", [QUESTIONS[0] | {"turns": ["Write."]}, *QUESTIONS[1:]]))
    assert first.content_hash() == renamed.content_hash() != edited.content_hash()


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


def test_source_directory_becomes_completion_prompts(tmp_path: Path):
    for name in ("a.py", "deep/b.rs", ".git/c.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("".join(f"line {number} of {name}\n" for number in range(400)))
    suite = load_suite(tmp_path)
    assert suite.tasks == ("completion",)
    assert {prompt.id.partition(":")[0] for prompt in suite.prompts} == {"a.py", "deep/b.rs"}
    assert all(700 <= len(prompt.text) <= 2400 for prompt in suite.prompts)
    assert len({prompt.text for prompt in suite.prompts}) == len(suite.prompts)
    assert load_suite(tmp_path).content_hash() == suite.content_hash()
    alone = load_suite(tmp_path / "a.py")
    assert {prompt.text for prompt in alone.prompts} <= {prompt.text for prompt in suite.prompts}


def test_directory_without_enough_source_is_refused(tmp_path: Path):
    (tmp_path / "short.py").write_text("x = 1\n")
    with pytest.raises(SuiteError, match="expected source files of at least 800 characters"):
        load_suite(tmp_path)


class WordTokenizer:
    """Counts words; wraps chat messages when it has a template."""

    def __init__(self, chat_template: str | None):
        self.chat_template = chat_template

    def __call__(self, text: str) -> dict[str, list[int]]:
        return {"input_ids": [len(word) for word in text.split()]}

    def apply_chat_template(self, messages, add_generation_prompt, tokenize, return_dict):
        assert (add_generation_prompt, tokenize, return_dict) == (True, True, False)
        markers = {"user": -1, "assistant": -3}
        told = [[markers[one["role"]], *self(one["content"])["input_ids"]] for one in messages]
        return [*chain.from_iterable(told), -2]


def test_chat_prompts_use_the_template_and_source_prompts_never_do(tmp_path: Path):
    (tmp_path / "a.py").write_text("import os\n" * 300)
    question = load_suite(write_lines(tmp_path / "questions.jsonl", QUESTIONS)).prompts[0]
    source = load_suite(tmp_path / "a.py").prompts[0]
    assert prompt_ids(question, WordTokenizer("template")) == [-1, 5, 5, 5, -2]
    assert prompt_ids(question, WordTokenizer(None)) == [5, 5, 5]
    assert prompt_ids(source, WordTokenizer("template"))[:2] == [6, 2]
    answered = ["It pours down"]
    assert prompt_ids(question, WordTokenizer("template"), answered) == [
        -1,
        5,
        5,
        5,
        -3,
        2,
        5,
        4,
        -1,
        3,
        7,
        3,
        6,
        2,
        -2,
    ]
    assert prompt_ids(question, WordTokenizer(None), answered) == [5, 5, 7, 5, 4, 3, 7, 3, 6, 2]


def test_repetition_of_known_sequences():
    assert repetition(range(128)) == 0.0
    assert repetition([7] * 128) == pytest.approx(120 / 121)
    assert repetition([*range(16), *range(16)]) == pytest.approx(9 / 25)
    assert repetition([1, 2, 1, 2], n=2) == pytest.approx(1 / 3)
    assert repetition([1, 2, 3]) == 0.0


@given(st.lists(st.integers(0, 3), max_size=60), st.integers(1, 4))
def test_repetition_equals_counting_by_hand(tokens: list[int], n: int):
    grams = [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
    repeats = sum(gram in grams[:place] for place, gram in enumerate(grams))
    assert repetition(tokens, n) == pytest.approx(repeats / len(grams) if grams else 0.0)
