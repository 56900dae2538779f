"""The vertical and horizontal cascade in one: reviewed tokens first, copied ones behind them."""

from __future__ import annotations

import pytest

from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.policies.vc_hc import VerticalHorizontal
from tests.runtime.drafts import PLAN, TARGET, chain_of, drafted, own_tokens, sequence_of, slow_max_gram
from tests.runtime.tiny import cold_matrix, repetitive_prompt

pytestmark = pytest.mark.usefixtures("without_gradients")


@pytest.mark.parametrize("seed", [1, 3])
def test_vc_hc_reviews_the_first_tokens_and_copies_the_rest(seed: int) -> None:
    prompt = repetitive_prompt(60, seed)
    tokens = chain_of(drafted(VerticalHorizontal(PLAN, k11=2, k12=4, k22=1), prompt))
    own = own_tokens(sequence_of(prompt), [], 3)  # the second round may leave two
    assert tokens in [own[:n] + slow_max_gram(prompt, own[:n], 4, None) for n in (2, 3)]
    assert len(tokens) > 3


def test_vc_hc_spreads_the_leading_node() -> None:
    prompt = repetitive_prompt(60, 2)
    tree = drafted(VerticalHorizontal(PLAN, cold_matrix(TARGET), k11=1, k12=3, k22=1, n_children=8), prompt)
    (proposal,) = sequence_of(prompt).propose(PLAN, CandidateTree(prompt[-1]), [0], 8)
    assert {tree.tokens[node] for node in tree.children(0)} == set(proposal.tokens)
    for node in tree.children(0)[1:]:
        path = [node]
        while tree.children(path[-1]):
            path += tree.children(path[-1])
        tokens = [tree.tokens[i] for i in path]
        assert tokens[1:] == slow_max_gram(prompt, tokens[:1], 3, cold_matrix(TARGET))
