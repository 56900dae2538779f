"""The fixed cascades and the published DyTC: what they draft, against the same thing written the slow way."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from casspec.runtime.decoding.noise import GumbelNoise
from casspec.runtime.decoding.sampling import Sampling
from casspec.runtime.decoding.sequence import Proposal, Sequence
from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.drafters.max_gram import MaxGram
from casspec.runtime.drafters.review import add_chain, nucleus, review, walk
from casspec.runtime.drafters.token_recycling import RecyclingMatrix
from casspec.runtime.latency.timing import ForwardClock
from casspec.runtime.model.plan import Plan
from casspec.runtime.policies.base import Policy, PolicyContext
from casspec.runtime.policies.dytc_paper import LOOKUP_COST, Acceptance, DyTCPaper, walltime_gain
from casspec.runtime.policies.horizontal import Horizontal
from casspec.runtime.policies.tree_vertical import TreeVertical
from casspec.runtime.policies.vc_hc import VerticalHorizontal
from casspec.runtime.policies.vertical import Vertical
from casspec.storage.schema import SkipSet
from tests.runtime.tiny import VOCAB, cold_matrix, repetitive_prompt, tiny_profile, tiny_target

TARGET = tiny_target(seed=7)
PLAN = Plan.skipping(SkipSet(attention=(1,), mlp=(2,)), TARGET.n_layers, "light")
OTHER = Plan.skipping(SkipSet(attention=(1, 2), mlp=(1, 2)), TARGET.n_layers, "lighter")
texts = st.lists(st.integers(0, 3), min_size=1, max_size=40)


@pytest.fixture(autouse=True)
def _without_gradients():
    with torch.inference_mode():
        yield


def sequence_of(prompt: list[int], temperature: float = 0.0) -> Sequence:
    noise = GumbelNoise(3, VOCAB) if temperature else None
    cache = TARGET.new_cache(len(prompt) + 160)
    return Sequence(TARGET, cache, prompt, Sampling(temperature), noise, ForwardClock(TARGET.device))


def own_tokens(sequence: Sequence, path: list[int], count: int, plan: Plan = PLAN) -> list[int]:
    """What a plan says after the root and `path`, one forward a token."""
    tree, drafter = CandidateTree(sequence.tokens[-1]), plan
    node, tokens = add_chain(tree, 0, path, ""), []
    for _ in range(count):
        tokens.append(sequence.propose(drafter, tree, [node])[0].tokens[0])
        node = tree.add(node, tokens[-1])
    return tokens


def drafted(policy: Policy, prompt: list[int], max_depth: int = 60, temperature: float = 0.0) -> CandidateTree:
    sequence = sequence_of(prompt, temperature)
    policy.begin(sequence)
    return policy.draft(sequence, max_depth)


def chain_of(tree: CandidateTree) -> list[int]:
    assert tree.parents == list(range(-1, len(tree) - 1))
    return tree.tokens[1:]


# -------------------------------------------------------------------------------------------------------- max-gram


def slow_max_gram(text: list[int], path: list[int], n_tokens: int, matrix: RecyclingMatrix | None) -> list[int]:
    proposed: list[int] = []
    while len(proposed) < n_tokens:
        known = text + path + proposed
        ends = [
            next((end for end in range(n, len(text)) if text[end - n : end] == known[-n:]), 0)
            for n in range(min(len(known), len(text)), 0, -1)
        ]
        end = next((end for end in ends if end), 0)
        if end:
            proposed += text[end : end + n_tokens - len(proposed)]
        elif matrix is not None and matrix.token_ids[known[-1], 0] >= 0:
            proposed.append(int(matrix.token_ids[known[-1], 0]))
        else:
            break
    return proposed


@given(texts, st.lists(st.integers(0, 4), max_size=6), st.data(), st.integers(0, 12), st.booleans())
def test_max_gram_copies_after_the_longest_suffix_that_occurred_before(text, path, data, n_tokens, recorded) -> None:
    matrix = cold_matrix(TARGET) if recorded else None
    drafter, cut = MaxGram(matrix), data.draw(st.integers(0, len(text)))
    drafter.begin(text[:cut])
    drafter.extend(text[cut:])
    assert drafter.propose(path, n_tokens) == slow_max_gram(text, path, n_tokens, matrix)


def test_max_gram_forgets_the_text_before() -> None:
    drafter = MaxGram()
    drafter.begin([1, 2, 3, 1, 2])
    assert drafter.propose([], 3) == [3, 1, 2]
    drafter.begin([4, 5, 1, 2])
    assert drafter.propose([], 3) == []


# ---------------------------------------------------------------------------------------------------------- review


@settings(max_examples=30)
@given(
    st.lists(st.lists(st.integers(0, VOCAB - 1), max_size=5), min_size=1, max_size=3), st.integers(0, 5), st.booleans()
)
def test_a_review_keeps_what_the_plan_would_have_drafted(chains, n_right, sampled) -> None:
    """Several lanes at once: each keeps the drafted tokens equal to the plan's own, and knows the plan's next token."""
    sequence = sequence_of(repetitive_prompt(20), 0.7 * sampled)
    tree, drafter = CandidateTree(sequence.tokens[-1]), PLAN
    lanes = [tree.add(0, token, "lane") for token in range(len(chains))]
    first = len(tree)
    for lane, wrong in zip(lanes, chains, strict=True):
        right = own_tokens(sequence, [tree.tokens[lane]], n_right)
        add_chain(tree, lane, right + wrong, "bottom")
    reviews = review(sequence, tree, drafter, lanes, first)
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


# -------------------------------------------------------------------------------------------------- fixed cascades


@pytest.mark.parametrize("temperature", [0.0, 0.7])
@pytest.mark.parametrize("seed", range(3))
def test_vertical_drafts_the_plans_own_tokens_in_fewer_forwards(seed: int, temperature: float) -> None:
    prompt = repetitive_prompt(60, seed)
    policy = Vertical(PLAN, cold_matrix(TARGET), n_tokens=12)
    tokens = chain_of(drafted(policy, prompt, 40, temperature))
    assert 12 <= len(tokens) <= 12 + 10
    assert tokens == own_tokens(sequence_of(prompt, temperature), [], len(tokens))


def test_a_vertical_round_needs_one_forward_however_much_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    prompt = repetitive_prompt(40)
    right = own_tokens(sequence_of(prompt), [], 8)
    policy, forwards = Vertical(PLAN, n_tokens=9), []
    monkeypatch.setattr(policy._bottom, "propose", lambda path, n_tokens: right[len(path) :][:n_tokens])
    propose = Sequence.propose
    monkeypatch.setattr(Sequence, "propose", lambda *args: forwards.append(args) or propose(*args))
    tree = drafted(policy, prompt)
    assert chain_of(tree)[:8] == right
    assert tree.drafters[1:] == ["max-gram"] * 8 + ["light"]
    assert len(forwards) == 1


def test_a_lenient_review_lets_more_of_the_bottom_drafter_stand() -> None:
    def standing(lenience: float) -> int:
        policy = Vertical(PLAN, cold_matrix(TARGET), n_tokens=20, lenience=lenience)
        return sum(drafted(policy, repetitive_prompt(60, seed)).drafters.count("max-gram") for seed in range(8))

    assert standing(8.0) > standing(1.0)


def test_horizontal_copies_after_the_strong_tokens() -> None:
    prompt = repetitive_prompt(60, 1)
    tokens = chain_of(drafted(Horizontal(PLAN, n_strong=3, n_cheap=5), prompt))
    strong = own_tokens(sequence_of(prompt), [], 3)
    assert tokens == strong + slow_max_gram(prompt, strong, 5, None)


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


def test_tree_vertical_adds_the_likeliest_side_tokens_to_the_chain_of_vertical() -> None:
    prompt = repetitive_prompt(60, 1)
    chain = chain_of(drafted(Vertical(PLAN, cold_matrix(TARGET)), prompt))

    def tree_of(max_nodes: int) -> CandidateTree:
        return drafted(TreeVertical(PLAN, cold_matrix(TARGET), top_p=1.0, max_nodes=max_nodes), prompt)

    wide, narrow = tree_of(64), tree_of(len(chain) + 4)
    assert len(wide) == 1 + 3 * len(chain)
    assert len(narrow) == 1 + len(chain) + 4
    for tree in (wide, narrow):
        assert tree.tokens[1 : 1 + len(chain)] == chain
        assert all(not tree.children(node) for node in range(1 + len(chain), len(tree)))
    sides = sorted(wide.probabilities[1 + len(chain) :], reverse=True)
    assert sorted(narrow.probabilities[1 + len(chain) :], reverse=True) == sides[:4]


@settings(max_examples=40)
@given(
    st.sampled_from(
        [
            (Vertical, {"n_tokens": 300, "n_drafted": 300, "lenience": 9.0}),
            (Horizontal, {"n_strong": 3, "n_cheap": 300}),
            (VerticalHorizontal, {"k11": 4, "k12": 300, "k22": 300, "n_children": 20, "lenience": 2.0}),
            (TreeVertical, {"n_tokens": 300, "max_nodes": 127, "width": 5}),
        ]
    ),
    st.integers(0, 140),
    st.integers(0, 5),
)
def test_no_draft_is_deeper_or_larger_than_allowed(
    method: tuple[Any, dict[str, Any]], max_depth: int, seed: int
) -> None:
    policy, parameters = method
    tree = drafted(policy(PLAN, cold_matrix(TARGET), **parameters), repetitive_prompt(40, seed), max_depth)
    assert max(tree.depths) <= max_depth
    assert len(tree) <= 128
    assert (len(tree) > 1) == (max_depth > 0)


# ------------------------------------------------------------------------------------------------- DyTC as published


def test_the_published_objective_prefers_prompt_lookup_by_far() -> None:
    """At an acceptance of .3 its one token is worth twelve times the best block of a layer-sparse plan."""
    assert walltime_gain(0.3, LOOKUP_COST, 1, 0.3, LOOKUP_COST) == pytest.approx(19.5)
    assert max(walltime_gain(0.7, 0.55, k, 0.3, LOOKUP_COST) for k in range(1, 6)) == pytest.approx(1.625)
    assert walltime_gain(0.5, 0.2, 3, 0.4, 0.1) == pytest.approx((0.5 + 0.25 + 0.125 + 0.125 * 0.4) / 0.7)


def test_acceptance_follows_the_last_twenty_outcomes_from_the_prior() -> None:
    acceptance = Acceptance(0.5)
    acceptance.observe(True)
    assert acceptance.value == pytest.approx(0.7 * 0.5 + 0.3)
    for _ in range(30):
        acceptance.observe(False)
    assert acceptance.value < 0.05
    for _ in range(60):
        acceptance.observe(True)
    assert acceptance.value == pytest.approx(1.0, abs=1e-6)
    acceptance.reset()
    assert acceptance.value == 0.5


def paper(costs: dict[str, float], acceptance: float = 0.7, **parameters: Any) -> DyTCPaper:
    def forward_ms(plan: Plan, n_tokens: int, context: int) -> float:
        return costs.get(plan.name, 1.0)

    return DyTCPaper(TARGET.full_plan, [(PLAN, acceptance), (OTHER, acceptance / 2)], forward_ms, **parameters)


UNREPEATED = [3, 1, 4, 15, 9, 2, 6, 5, 30]


@pytest.mark.parametrize(
    ("named", "profiled", "plans"),
    [
        ({}, True, ["light", "lighter"]),
        ({"drafter": "lighter"}, True, ["lighter", "even-0.6"]),
        ({"drafter": "lighter", "second": "light"}, True, ["lighter", "light"]),
        ({}, False, ["even-0.4", "even-0.6"]),
    ],
)
def test_the_published_tree_drafts_with_two_plans(named: dict[str, str], profiled: bool, plans: list[str]) -> None:
    profile = tiny_profile(TARGET).document if profiled else None
    policy = DyTCPaper.build(PolicyContext(TARGET, profile, "greedy", None), **named)
    drafters = [entry.drafter.name for entry in policy._configurations if entry.drafter and not entry.reviews]
    assert drafters == plans
    reviewing = [entry.drafter.name for entry in policy._configurations if entry.drafter and entry.reviews]
    assert reviewing == plans


def test_where_prompt_lookup_has_nothing_the_next_configuration_drafts() -> None:
    """A review of nothing costs as much as the plan's own token here, and leaves more when there is something."""
    tree = drafted(paper({"light": 0.5, "lighter": 0.6}), UNREPEATED)
    assert tree.drafters[1] == "light"
    assert tree.tokens[tree.children(0)[0]] == own_tokens(sequence_of(UNREPEATED), [], 1)[0]
    assert "lighter" not in tree.drafters
    repeated = drafted(paper({"light": 0.5, "lighter": 0.6}), repetitive_prompt(60))
    assert repeated.drafters[1] == "prompt-lookup"


def test_every_node_of_the_published_tree_carries_the_product_of_acceptances_above_it() -> None:
    tree = drafted(paper({"light": 0.2, "lighter": 0.2}, top_p=1.0), UNREPEATED)
    assert len(tree) == 1 + 64
    by_drafter = {"light": 0.7, "prompt-lookup": 0.5}
    for node in range(1, len(tree)):
        above = tree.probabilities[tree.parents[node]]
        assert tree.probabilities[node] == pytest.approx(above * by_drafter[tree.drafters[node]])


def test_the_published_tree_ends_where_a_copied_token_no_longer_pays() -> None:
    tree = drafted(paper({}, t_min=40.0), repetitive_prompt(60))
    expanded = [node for node in range(len(tree)) if tree.children(node)]
    assert expanded == [0]  # .5 / .01 = 50 at the root, 25 below it
    assert len(drafted(paper({}, t_min=60.0), repetitive_prompt(60))) == 1


def test_siblings_are_drafted_in_one_forward_each_under_its_own_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = paper({"light": 0.2, "lighter": 0.9}, top_p=1.0, max_block=1, max_nodes=12)
    asked: list[list[int]] = []
    propose = Sequence.propose

    def counted(self: Sequence, plan: Plan, tree: CandidateTree, nodes: list[int], *rest: Any) -> Any:
        asked.append(nodes)
        return propose(self, plan, tree, nodes, *rest)

    monkeypatch.setattr(policy._lookup, "propose", lambda suffix, n_tokens: [])
    monkeypatch.setattr(Sequence, "propose", counted)
    tree = drafted(policy, UNREPEATED)
    assert asked[:2] == [[0], [1, 2, 3]]
    for lane in (1, 2, 3):
        assert len(tree.children(lane)) == 3
        assert tree.tokens[tree.children(lane)[0]] == own_tokens(sequence_of(UNREPEATED), [tree.tokens[lane]], 1)[0]


@pytest.mark.parametrize("n_right", [0, 1, 2])
def test_a_plan_reviews_prompt_lookup_under_every_lane(monkeypatch: pytest.MonkeyPatch, n_right: int) -> None:
    """Each lane is handed tokens of which the first are right: those stand, and every node's first child is the plan's own."""
    policy = paper({}, top_p=1.0, t_min=0.0)
    reviewing = policy._configurations[2]
    assert reviewing.reviews

    def partly_right(growth: Any, node: int, n_tokens: int) -> list[int]:
        own = own_tokens(sequence_of(UNREPEATED), growth.tree.path_tokens(node)[1:], 4)
        return [*own[:n_right], (own[n_right] + 1) % VOCAB, *own[n_right + 1 :]][:n_tokens]

    monkeypatch.setattr(policy, "_ranked_blocks", lambda context: [(reviewing, 4)])
    monkeypatch.setattr(policy, "_continuation", partly_right)
    tree = drafted(policy, UNREPEATED)
    assert len(tree) == 1 + 64
    assert ("prompt-lookup" in tree.drafters) == (n_right > 0)
    for node in range(len(tree)):
        if tree.children(node):
            own = own_tokens(sequence_of(UNREPEATED), tree.path_tokens(node)[1:], 1)[0]
            assert tree.tokens[tree.children(node)[0]] == own
