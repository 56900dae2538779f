"""The task that lm-eval scores twice."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
import pytest

from benchmarks.lm_eval_equal import CAPITALS, CHOICES, TASK, questions, scored, write_task


def test_forty_questions_have_one_right_answer_each_wherever_it_stands() -> None:
    right = dict(pair.split() for pair in CAPITALS.split(", "))
    found = questions()
    assert len(found) == len(right) == 40
    for each in found:
        country = each["question"].removeprefix("The capital of ").removesuffix(" is")
        assert each["choices"][each["answer"]] == right[country]
        assert len(set(each["choices"])) == CHOICES
    assert {each["answer"] for each in found} == set(range(CHOICES))


def test_the_task_finds_its_questions(tmp_path: Path) -> None:
    write_task(tmp_path)
    document = json.loads((tmp_path / f"{TASK}.yaml").read_text("utf-8"))
    lines = Path(document["dataset_kwargs"]["data_files"]["test"]).read_text("utf-8").splitlines()
    assert len(lines) == 40


def test_an_evaluation_that_fails_is_one_line(tmp_path: Path) -> None:
    command = tmp_path / "lm_eval"
    command.write_text(f"#!{sys.executable}\nimport sys\nsys.exit('no\\nsuch task')\n", encoding="utf-8")
    command.chmod(0o755)
    with pytest.raises(click.ClickException, match="failed with served: such task"):
        scored(command, tmp_path, "served", [])
