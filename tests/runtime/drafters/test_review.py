"""Reviews: what a plan keeps of the tokens another drafter put under it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casspec.runtime.decoding.sequence import Proposal
from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.drafters.review import add_chain, nucleus, review, walk
from tests.runtime.drafts import PLAN, own_tokens, sequence_of
from tests.runtime.tiny import VOCAB, repetitive_prompt

pytestmark = pytest.mark.usefixtures("without_gradients")


@settings(max_examples=30)
@given(
    st.lists(st.lists(st.integers(0, VOCAB - 1), max_size=5), min_size=1, max_size=3), st.integers(0, 5), st.booleans()
)
def test_a_review_keeps_what_the_plan_would_have_drafted(chains, n_right, sampled) -> None:
    """Several lanes at once: each keeps the drafted tokens equal to the plan's own, and knows the plan's next token."""
    sequence = sequence_of(repetitive_prompt(20), 0.7 * sampled)
    tree = CandidateTree(sequence.tokens[-1])
    lanes = [tree.add(0, token, "lane") for token in range(len(chains))]
    first = len(tree)
    for lane, wrong in zip(lanes, chains, strict=True):
        right = own_tokens(sequence, [tree.tokens[lane]], n_right)
        add_chain(tree, lane, right + wrong, "bottom")
    reviews = review(sequence, tree, PLAN, lanes, first)
    for lane, wrong, reviewed in zip(lanes, chains, reviews, strict=True):
        own = own_tokens(sequence, [tree.tokens[lane]], n_right + len(wrong) + 1)
        kept = [tree.tokens[node] for node in reviewed.nodes[1:]]
        assert len(kept) >= n_right
        assert kept == own[: len(kept)]
        assert [proposal.tokens[0] for proposal in reviewed.proposals] == own[: len(kept) + 1]
        assert [tree.parents[node] for node in reviewed.nodes[1:]] == reviewed.nodes[:-1]
    assert len(tree) == first + sum(len(reviewed.nodes) - 1 for reviewed in reviews)


def test_lenience_keeps_tokens_the_plan_finds_likely_enough() -> None:
    tree = CandidateTree(0)
    second = tree.add(0, 5)
    said = {0: Proposal([7, 5], [2.0, 1.0], [0.55, 0.3]), second: Proposal([1, 2], [2.0, 1.0], [0.6, 0.3])}
    assert walk(tree, said, 0) == [0]
    assert walk(tree, said, 0, lenience=3.0) == [0]
    assert walk(tree, said, 0, lenience=4.0) == [0, second]
    tree.add(0, 7)
    said[2] = said[second]
    assert walk(tree, said, 0, lenience=4.0) == [0, 2]  # its own token before any other


def test_a_nucleus_ends_where_its_mass_is_reached_and_is_never_empty() -> None:
    proposal = Proposal([4, 5, 6], [3.0, 2.0, 1.0], [0.6, 0.3, 0.05])
    assert list(nucleus(proposal, 0.85)) == [(4, 0.6), (5, 0.3)]
    assert list(nucleus(proposal, 1.0)) == [(4, 0.6), (5, 0.3), (6, 0.05)]
    assert list(nucleus(proposal, 0.0)) == [(4, 0.6)]
