"""How fast a text could have been decoded: by the best choices among what dytc's drafters offer, and by knowing the text.

The menu bound is the best policy in hindsight over a menu of blocks, one of which is drafted and verified from each root:

    retrieval(n)   the n candidates that prompt lookup and token recycling think likeliest, a tree
    chain(d, k)    k tokens of self-drafter d, a forward each
    review(d, n)   retrieval(n), then one forward of d over all of it, and d's own token behind what is right

Every block is paid for in full, whatever of it is accepted: all its forwards, and the verification of all its nodes. Which block would have
been best from every root follows by dynamic programming over the positions of a recording, since what drafters offer depends on the
text before a root and not on how it was reached. (dytc itself may string several such blocks together before it verifies, and drop
nodes again; it does not know how any of them ends.) The clairvoyant bound knows every token and pays for verifications only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from casspec.runtime.decoding.noise import GumbelNoise
from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.drafters.mean_recycling import MeanRecycling
from casspec.runtime.drafters.retrieval import Retrieval
from casspec.runtime.drafters.token_recycling import RecyclingMatrix
from casspec.runtime.model.plan import Plan
from casspec.runtime.policies.base import ForwardMs
from casspec.runtime.policies.dytc.ablation import Ablation
from casspec.runtime.policies.dytc.costs import CostCurve
from casspec.runtime.policies.dytc.tree_growth import TreeGrowth
from casspec.storage.schema import AcceptancePrior
from casspec.tuner.recordings.recording import Recording
from casspec.tuner.recordings.traced_plan import TracedPlan
from casspec.tuner.replay.simulate import VerifyCost

LEAST_MASS = 1e-3
"""Candidates less likely than this are in no block."""

Block = tuple[int, float]
"""(tokens accepted, milliseconds)."""


@dataclass(frozen=True)
class Menu:
    """What may be drafted with, and what it costs. Sizes are dytc's own by default.

    Attributes:
        verify_cost, draft_ms: as in a replay, everything beside the forwards included; neither falls with the tokens.
        plans: self-drafters with what they said.
        matrix, prior: where retrieval starts.
        max_nodes: of a verified tree, root included. max_depth: of a tree.
        max_ngram, branch: of the retrieval.
    """

    vocab_size: int
    verify_cost: VerifyCost
    draft_ms: ForwardMs
    plans: Sequence[tuple[Plan, TracedPlan]] = ()
    matrix: RecyclingMatrix | None = None
    prior: AcceptancePrior | None = None
    max_nodes: int = 16
    max_depth: int = 48
    max_ngram: int = 4
    branch: int = 4


def menu_bound_ms(recording: Recording, menu: Menu) -> float:
    """Milliseconds of the best policy in hindsight that drafts one block of the menu before each verification."""
    n_tokens, first_context = len(recording.continuation_tokens), len(recording.prompt_tokens) - 1
    trees = [path_lengths(tree, recording, start) for start, tree in enumerate(retrieved_trees(recording, menu))]

    def blocks(start: int) -> Iterator[Block]:
        context, deepest = first_context + start, n_tokens - start - 1
        yield from _retrieval_blocks(menu, trees[start], context)
        for plan, traced in menu.plans:
            right = _right_run(recording, traced, start, min(deepest, menu.max_depth, menu.max_nodes - 1))
            yield from _chain_blocks(menu, plan, right, context)
            yield from _review_blocks(menu, plan, traced, recording, trees[start], start)

    return fastest_ms(n_tokens, blocks)


def clairvoyant_ms(recording: Recording, menu: Menu) -> float:
    """Milliseconds of the verifications alone, every draft right and of the best length."""
    n_tokens, first_context = len(recording.continuation_tokens), len(recording.prompt_tokens) - 1

    def blocks(start: int) -> Iterator[Block]:
        for accepted in range(min(menu.max_depth, menu.max_nodes - 1, n_tokens - start - 1) + 1):
            yield accepted, menu.verify_cost(1 + accepted, first_context + start)

    return fastest_ms(n_tokens, blocks)


def fastest_ms(n_tokens: int, blocks: Callable[[int], Iterator[Block]]) -> float:
    """The shortest way through a text: a block from `start` that has m tokens accepted emits m + 1 and leads there."""
    left = [0.0] * (n_tokens + 1)
    for start in range(n_tokens - 1, -1, -1):
        left[start] = min(cost + left[start + accepted + 1] for accepted, cost in blocks(start))
    return left[0]


# ------------------------------------------------------------------------------------------------------------ the blocks


def _retrieval_blocks(menu: Menu, lengths: Sequence[int], context: int) -> Iterator[Block]:
    """Every size of a retrieved tree; that of a lone root is an autoregressive step."""
    for size, accepted in enumerate(lengths, start=1):
        yield accepted, menu.verify_cost(size, context)


def _chain_blocks(menu: Menu, plan: Plan, right: int, context: int) -> Iterator[Block]:
    """Every length that is right throughout: a longer one would be paid for nothing."""
    draft_ms = menu.draft_ms(plan, 1, context)
    for k in range(1, right + 1):
        yield k, k * draft_ms + menu.verify_cost(1 + k, context)


def _review_blocks(
    menu: Menu, plan: Plan, traced: TracedPlan, recording: Recording, lengths: Sequence[int], start: int
) -> Iterator[Block]:
    """Every size of a retrieved tree behind whose right path the plan's own token is right, too."""
    key, truth = (recording.prompt_id, recording.mode), recording.continuation_tokens
    context = len(recording.prompt_tokens) - 1 + start
    for size, accepted in enumerate(lengths[: menu.max_nodes - 1], start=1):
        place = start + accepted
        fits = accepted < menu.max_depth and place < len(truth) - 1
        if fits and traced.said(key, place, accepted).tokens[0] == truth[place]:
            yield accepted + 1, menu.draft_ms(plan, size, context) + menu.verify_cost(size + 1, context)


def _right_run(recording: Recording, traced: TracedPlan, start: int, most: int) -> int:
    """How many tokens from place `start` on a plan says right, one after the other."""
    key, truth = (recording.prompt_id, recording.mode), recording.continuation_tokens
    run = 0
    while run < most and traced.said(key, start + run, run).tokens[0] == truth[start + run]:
        run += 1
    return run


# ----------------------------------------------------------------------------------------------------- what is retrieved


def retrieved_trees(recording: Recording, menu: Menu) -> Iterator[CandidateTree]:
    """Retrieval's tree of up to `max_nodes` nodes from every root of a continuation, likeliest nodes first."""
    text, first = recording.tokens.tolist(), len(recording.prompt_tokens)
    ids, logits = recording.top_ids.tolist(), recording.top_logits.tolist()
    noise = None if recording.sampling.greedy else GumbelNoise(recording.seed, menu.vocab_size)
    table = Ablation().retrieval_table(menu.prior)
    retrieval = Retrieval(table, MeanRecycling(menu.matrix), menu.max_ngram, menu.branch)
    retrieval.begin(text[:first], (ids[: first - 1], logits[: first - 1]))
    free = CostCurve([menu.max_nodes], [0.0])
    for root in range(first - 1, len(text) - 1):
        growth = TreeGrowth(
            text[root],
            retrieval,
            min(menu.max_depth, len(text) - 2 - root),
            LEAST_MASS,
            None if noise is None else noise.host_rows(root + 1, 1)[0],
            1.0 / (recording.temperature or 1.0),
        )
        growth.grow(free, 1)
        yield growth.tree
        row = slice(root, root + 1)
        retrieval.extend([text[root + 1]], recording.top_ids[row].astype("int64"), recording.top_logits[row].copy())


def path_lengths(tree: CandidateTree, recording: Recording, start: int) -> list[int]:
    """For its first 1, 2, ... nodes, how many tokens of a tree under root `start` the recorded text accepts."""
    truth, depth_on_path, longest = recording.continuation_tokens[start:].tolist(), {0: 0}, 0
    lengths = [0]
    for node in range(1, len(tree)):
        above = depth_on_path.get(tree.parents[node])
        if above is not None and tree.tokens[node] == truth[above]:
            depth_on_path[node] = above + 1
            longest = max(longest, above + 1)
        lengths.append(longest)
    return lengths
