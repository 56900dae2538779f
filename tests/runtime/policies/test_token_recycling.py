"""A static tree over recycled successors: of the text where it has told, of the profile's matrix elsewhere."""

from __future__ import annotations

import pytest

from casspec.runtime.decoding.noise import GumbelNoise
from casspec.runtime.decoding.sequence import Sequence
from casspec.runtime.decoding.verify import accept
from casspec.runtime.drafters.layouts import static_layout
from casspec.runtime.drafters.token_recycling import TokenRecycling
from casspec.runtime.latency.timing import ForwardClock
from casspec.runtime.policies.base import VerifyResult
from casspec.runtime.policies.token_recycling import RANK_ACCEPTANCE, TokenRecyclingPolicy
from casspec.runtime.text.sampling import Sampling
from tests.runtime.drafts import TARGET
from tests.runtime.tiny import VOCAB, cold_matrix, repetitive_prompt

pytestmark = pytest.mark.usefixtures("without_gradients")
PROMPT = repetitive_prompt(40)


def sequence_with_top(temperature: float = 0.0) -> Sequence:
    noise = GumbelNoise(3, VOCAB) if temperature else None
    clock = ForwardClock(TARGET.device)
    return Sequence(TARGET, TARGET.new_cache(128), PROMPT, Sampling(temperature), noise, clock, True)


def recycled(sequence: Sequence) -> TokenRecycling:
    """Rows as the policy should know them at the beginning."""
    rows = TokenRecycling(cold_matrix(TARGET))
    rows.begin()
    ids, logits = sequence.prompt_top
    rows.refresh(sequence.tokens[: len(ids)], ids, logits)
    return rows


def test_what_was_learned_of_the_prompt_is_the_same_with_the_last_place_of_each_token_alone() -> None:
    prompt = [3, 5, 3, 7, 5, 3, 9, 9, 1, 3, 7] * 5
    learned = []
    for by_token in (False, True):
        clock = ForwardClock(TARGET.device)
        sequence = Sequence(TARGET, TARGET.new_cache(128), prompt, Sampling(), None, clock, True, None, by_token)
        assert len(sequence.prompt_places) == (len(set(prompt[:-1])) if by_token else len(prompt) - 1)
        policy = TokenRecyclingPolicy(cold_matrix(TARGET))
        policy.begin(sequence)
        learned.append([policy._recycling.row(token) for token in range(TARGET.vocab_size)])
    for whole, last in zip(*learned, strict=True):
        assert (whole is None) == (last is None)
        if whole and last:
            assert whole[0] == last[0]
            assert whole[1] == pytest.approx(last[1], abs=1e-5)


def test_children_are_the_best_recycled_successors_of_their_parent() -> None:
    sequence, policy = sequence_with_top(), TokenRecyclingPolicy(cold_matrix(TARGET), n_nodes=40)
    policy.begin(sequence)
    tree, rows = policy.draft(sequence, 60), recycled(sequence)
    assert len(tree) > 10
    under_root = sum(parent == 0 for parent, _ in static_layout(40, 6, RANK_ACCEPTANCE))
    assert len(tree.children(0)) == under_root
    for node in range(len(tree)):
        children = [tree.tokens[child] for child in tree.children(node)]
        row = rows.row(tree.tokens[node])
        assert children == (row[0] if row else [])[: len(children)]


@pytest.mark.parametrize("max_depth", [0, 1, 2])
def test_no_node_lies_deeper_than_allowed(max_depth: int) -> None:
    sequence, policy = sequence_with_top(), TokenRecyclingPolicy(cold_matrix(TARGET))
    policy.begin(sequence)
    assert max(policy.draft(sequence, max_depth).depths) == max_depth


def test_coupled_children_follow_the_noise_of_their_position() -> None:
    sequence, policy = sequence_with_top(0.7), TokenRecyclingPolicy(cold_matrix(TARGET), n_nodes=10, coupled=True)
    policy.begin(sequence)
    tree = policy.draft(sequence, 60)
    row, noise = recycled(sequence).row(PROMPT[-1]), sequence.noise_rows(1)
    assert row is not None
    assert noise is not None
    best = max(range(len(row[0])), key=lambda place: row[1][place] / 0.7 + noise[0][row[0][place]])
    assert tree.tokens[tree.children(0)[0]] == row[0][best]


def test_what_the_target_says_of_an_accepted_token_is_drafted_after_it_from_then_on() -> None:
    sequence, policy = sequence_with_top(), TokenRecyclingPolicy()
    policy.begin(sequence)
    tree = policy.draft(sequence, 60)
    outputs = sequence.verify(tree)
    path, emitted = accept(tree, outputs.token_after)
    root = tree.tokens[0]
    said = outputs.rows([0])[0][0]
    sequence.commit(path, emitted)
    policy.observe(sequence, VerifyResult(tree, path[:1], emitted, outputs))
    sequence.tokens[-1] = root
    after = policy.draft(sequence, 1)
    children = [after.tokens[child] for child in after.children(0)]
    assert children == said[: len(children)]
    assert children
