"""Prompt lookup alone: a chain copied from an earlier place, as long as it may be."""

from __future__ import annotations

import pytest
import torch

from casspec.runtime.decode import Decoder
from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.decoding.verify import KnownTokens
from casspec.runtime.policies.base import VerifyResult
from casspec.runtime.policies.prompt_lookup import PromptLookupPolicy
from tests.runtime.drafts import TARGET, chain_of, drafted, sequence_of
from tests.runtime.tiny import VOCAB, repetitive_prompt

pytestmark = pytest.mark.usefixtures("without_gradients")
PROMPT = [1, 2, 3, 4, 9, 1, 2, 3, 5, 9, 1, 2, 3]


def test_the_first_or_the_latest_place_is_copied() -> None:
    assert chain_of(drafted(PromptLookupPolicy(n_tokens=2), PROMPT)) == [4, 9]
    assert chain_of(drafted(PromptLookupPolicy(n_tokens=2, most_recent=True), PROMPT)) == [5, 9]


@pytest.mark.parametrize(("n_tokens", "max_depth", "length"), [(3, 60, 3), (10, 4, 4), (10, 0, 0)])
def test_a_chain_is_no_longer_than_asked_for_and_allowed(n_tokens: int, max_depth: int, length: int) -> None:
    assert len(chain_of(drafted(PromptLookupPolicy(n_tokens=n_tokens), PROMPT, max_depth))) == length


def test_what_was_emitted_is_found_and_nothing_is_drafted_where_nothing_matches() -> None:
    sequence, policy = sequence_of([7, 8, 20]), PromptLookupPolicy(n_tokens=2)
    policy.begin(sequence)
    assert len(policy.draft(sequence, 60)) == 1
    tree, emitted = CandidateTree(20), [21, 22, 7, 8]
    sequence.tokens += emitted
    policy.observe(sequence, VerifyResult(tree, [0], emitted, KnownTokens(torch.zeros(1, VOCAB), lambda: [21])))
    assert chain_of(policy.draft(sequence, 60)) == [20, 21]


def test_a_repetitive_text_takes_fewer_steps() -> None:
    generation = Decoder(TARGET, method="prompt-lookup").generate(repetitive_prompt(60), 60)
    assert generation.statistics.verify_steps < 60
