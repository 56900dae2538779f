"""The compiled passes over a text: its index finds what a look at the whole text finds, and they run without a compiler."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from casspec.runtime.decoding.acceptance import AcceptanceTable, retrieval_prior_means
from casspec.runtime.drafters.mean_recycling import MeanRecycling
from casspec.runtime.drafters.retrieval import Retrieval

tokens = st.lists(st.integers(0, 3), max_size=8)


def longest(text: list[int], suffix: list[int]) -> tuple[int, int]:
    """(position, length) of the last place that the longest end of `suffix` that occurs stands before."""
    for n in range(len(suffix), 0, -1):
        for end in range(len(text) - 1, n - 1, -1):
            if text[end - n : end] == suffix[-n:]:
                return end, n
    return 0, 0


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.lists(tokens, max_size=6), tokens, st.integers(1, 6))
def test_the_index_finds_the_last_place_of_the_longest_end_of_a_path(
    text: list[int], emitted: list[list[int]], suffix: list[int], max_ngram: int
) -> None:
    retrieval = Retrieval(AcceptanceTable("retrieval", retrieval_prior_means()), MeanRecycling(), max_ngram, 4)
    retrieval.begin(text, ([], []))
    for more in filter(None, emitted):
        retrieval.extend(more, np.empty((0, 8), np.int64), np.empty((0, 8), np.float32))
        text = text + more
    assert retrieval.match(suffix) == longest(text, suffix[-max_ngram:])


def test_a_text_may_grow_past_the_room_there_was_at_first() -> None:
    rng = np.random.default_rng(0)
    text = rng.integers(0, 9, 1500).tolist()
    retrieval = Retrieval(AcceptanceTable("retrieval", retrieval_prior_means()), MeanRecycling(), 4, 4)
    retrieval.begin(text[:3], ([], []))
    for place in range(3, len(text)):
        ids, logits = rng.permutation(5000)[None, :8], np.zeros((1, 8), np.float32)
        retrieval.extend([text[place]], ids, logits)
    for start in range(0, 1400, 100):
        assert retrieval.match(text[start : start + 4]) == longest(text, text[start : start + 4])


WITHOUT_NUMBA = """
import sys
sys.modules["numba"] = None
import warnings
warnings.simplefilter("error")
import numpy as np
from casspec.runtime.decoding.acceptance import AcceptanceTable, retrieval_prior_means
from casspec.runtime.decoding.noise import NoiseRow
from casspec.runtime.drafters.mean_recycling import MeanRecycling
from casspec.runtime.drafters.retrieval import Retrieval
from casspec.runtime.policies.dytc.costs import CostCurve
from casspec.runtime.policies.dytc.tree_growth import TreeGrowth
retrieval = Retrieval(AcceptanceTable("retrieval", retrieval_prior_means()), MeanRecycling(), 4, 4)
text = [1, 2, 3, 4] * 5
retrieval.begin(text, ([[5, 6]] * 19, [[1.0, 0.5]] * 19))
retrieval.extend([1], np.array([[1, 2]]), np.array([[1.0, 0.0]], np.float32))
growth = TreeGrowth(1, retrieval, 4, 0.01, NoiseRow(np.uint64(3), 20), 1.0)
growth.grow(CostCurve([1, 2, 4], [0.0, 0.0, 0.0]), 1)
said = np.full((128, 2, 2), -1)
said[0] = [[2, 0], [9, 1]]
growth.review(np.array([0]), said, np.array([0.8, 0.1]), "plan")
print(growth.tree.tokens, [round(mass, 6) for mass in growth.masses])
"""


def test_without_a_compiler_they_do_the_same() -> None:
    without = WITHOUT_NUMBA.strip()
    with_compiler = "\n".join(without.splitlines()[2:])
    said = [
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
        for code in (without, with_compiler)
    ]
    assert said[0] == said[1]
