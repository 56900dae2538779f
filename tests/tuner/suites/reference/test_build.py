"""Lists of prompts are made and extended."""

from __future__ import annotations

import pytest

from casspec.tuner.suites.reference import build
from casspec.tuner.suites.reference.suite_list import (
    SuiteList,
)


@pytest.mark.usefixtures("listed_python", "fake_filter")
def test_extending_a_list_keeps_its_prompts_and_counts_both_runs(committed: SuiteList):
    budget = build.ListBudget(prompts_per_task=20, candidates_per_task=64, seed=2)
    extended = build.make_list(budget, committed)
    assert {entry.id for entry in extended.entries} > {entry.id for entry in committed.entries}
    for task, count in committed.counts.items():
        assert extended.counts[task].candidates > count.candidates
        assert extended.counts[task].known == count.chosen
