from __future__ import annotations

import re
import textwrap

import pytest

from casspec.tuner.suites.reference.source_spans import find_cuts
from casspec.tuner.suites.reference.suite_list import prompt_text

PADDING = "".join(f"# line {number} of some text that stands before the places of interest\n" for number in range(60))

SOURCE = PADDING + textwrap.dedent(
    '''
    NAMES = [
        "alpha",
        "beta",
        "gamma",
        "delta",
        "epsilon",
    ]


    def count_words(text, limit):
        """Counts the words.

        There may be none at all,
        or more than the limit.
        """
        total = 0
        for word in text.split():
            if word in NAMES:
                continue
            total += 1
            if total > limit:
                total = limit
                break
            print(word, total, limit, file=None)
        # the remark makes the function long enough to be rewritten, which takes more characters than
        # most functions have, because there must be enough to copy from the version in the prompt
        return total
    '''
)


def texts(task: str) -> list[str]:
    cuts = find_cuts(task, "module.py", SOURCE, seed=0)
    assert cuts
    return [prompt_text(SOURCE[cut.offset : cut.offset + cut.length], cut.rename) for cut in cuts]


@pytest.mark.parametrize("task", ["completion", "tests", "docstring", "constants", "rewrite"])
def test_cuts_depend_on_the_seed_alone(task: str):
    assert find_cuts(task, "module.py", SOURCE, 0) == find_cuts(task, "module.py", SOURCE, 0)
    assert find_cuts(task, "module.py", SOURCE, 0) != find_cuts(task, "module.py", SOURCE, 1)


@pytest.mark.parametrize("task", ["completion", "docstring", "constants", "rewrite"])
def test_no_prompt_ends_in_white_space(task: str):
    assert all(text == text.rstrip() for text in texts(task))


def test_completion_ends_inside_the_body_past_the_docstring():
    for text in texts("completion"):
        assert "total = 0" in text
        assert "return total" not in text


def test_docstring_ends_inside_the_docstring():
    for text in texts("docstring"):
        assert '"""' in text.rpartition("def count_words")[2]
        assert "or more than the limit" not in text


def test_constants_end_in_the_second_half_of_the_table():
    for text in texts("constants"):
        assert re.search(r'NAMES = \[(\n    "\w+",){2,}(\n\])?$', text)


def test_rewrite_shows_the_old_version_whole_and_starts_the_new_one():
    for cut, text in zip(find_cuts("rewrite", "module.py", SOURCE, 0), texts("rewrite"), strict=True):
        assert cut.rename is not None
        old, _, new = text.partition(f"# The same with {cut.rename.old} renamed to {cut.rename.new}.\n")
        assert old.rstrip().endswith("return total")
        assert cut.rename.new not in old
        assert new.startswith("def count_words(")
        assert not re.search(rf"\b{cut.rename.old}\b", new)
        assert "return" not in new


def test_too_little_text_before_a_place_gives_no_cut():
    assert find_cuts("completion", "module.py", SOURCE.removeprefix(PADDING), 0) == []
