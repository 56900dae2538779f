"""What a policy drafts over a tiny model, and the same said the slow way: what several tests of drafters and cascades compare."""

from __future__ import annotations

from casspec.runtime.decoding.noise import GumbelNoise
from casspec.runtime.decoding.sequence import Sequence
from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.drafters.review import add_chain
from casspec.runtime.drafters.token_recycling import RecyclingMatrix
from casspec.runtime.latency.timing import ForwardClock
from casspec.runtime.model.plan import Plan
from casspec.runtime.policies.base import Policy
from casspec.runtime.text.sampling import Sampling
from casspec.storage.schema import SkipSet
from tests.runtime.tiny import VOCAB, tiny_target

TARGET = tiny_target(seed=7)
PLAN = Plan.skipping(SkipSet(attention=(1,), mlp=(2,)), TARGET.n_layers, "light")
OTHER = Plan.skipping(SkipSet(attention=(1, 2), mlp=(1, 2)), TARGET.n_layers, "lighter")


def sequence_of(prompt: list[int], temperature: float = 0.0) -> Sequence:
    noise = GumbelNoise(3, VOCAB) if temperature else None
    cache = TARGET.new_cache(len(prompt) + 160)
    return Sequence(TARGET, cache, prompt, Sampling(temperature), noise, ForwardClock(TARGET.device))


def own_tokens(sequence: Sequence, path: list[int], count: int, plan: Plan = PLAN) -> list[int]:
    """What a plan says after the root and `path`, one forward a token."""
    tree = CandidateTree(sequence.tokens[-1])
    node, tokens = add_chain(tree, 0, path, ""), []
    for _ in range(count):
        tokens.append(sequence.propose(plan, tree, [node])[0].tokens[0])
        node = tree.add(node, tokens[-1])
    return tokens


def drafted(policy: Policy, prompt: list[int], max_depth: int = 60, temperature: float = 0.0) -> CandidateTree:
    sequence = sequence_of(prompt, temperature)
    policy.begin(sequence)
    return policy.draft(sequence, max_depth)


def chain_of(tree: CandidateTree) -> list[int]:
    assert tree.parents == list(range(-1, len(tree) - 1))
    return tree.tokens[1:]


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
