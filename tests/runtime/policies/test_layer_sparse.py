"""Chains of a plan that skips sub-layers: which plan of a profile it is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from casspec.runtime.decode import Decoder
from casspec.runtime.policies.layer_sparse import LayerSparse
from casspec.storage.schema import Precision, Quantization
from tests.runtime.drafts import PLAN, chain_of, drafted, own_tokens, sequence_of
from tests.runtime.tiny import repetitive_prompt, tiny_profile, tiny_target


def test_a_chain_of_a_skip_set_takes_no_plan_in_fewer_bits_by_itself() -> None:
    target = tiny_target()
    loaded = tiny_profile(target)
    document = loaded.document
    assert document is not None
    sparse = next(spec for spec in document.drafters if spec.kind == "self" and len(spec.skip))
    both = sparse.model_copy(
        update={"name": "both", "quantization": Quantization(precision=Precision.INT4_WEIGHT)},
    )
    first = replace(loaded, document=document.model_copy(update={"drafters": (both, *document.drafters)}))
    for method in ("layer-sparse", "draft-verify"):
        drafted = Decoder(target, first, method, {}).generate(repetitive_prompt(30), 20).statistics.drafted_by
        assert drafted.keys() == {sparse.name}


@pytest.mark.usefixtures("without_gradients")
@pytest.mark.parametrize(("n_tokens", "max_depth", "length"), [(5, 60, 5), (5, 3, 3), (0, 60, 0)])
def test_a_chain_holds_the_plans_own_tokens(n_tokens: int, max_depth: int, length: int) -> None:
    prompt = repetitive_prompt(30)
    chain = chain_of(drafted(LayerSparse(PLAN, n_tokens), prompt, max_depth))
    assert chain == own_tokens(sequence_of(prompt), [], length)


@pytest.mark.usefixtures("without_gradients")
def test_a_chain_ends_before_a_token_the_plan_is_unsure_of() -> None:
    prompt = repetitive_prompt(30)
    lengths = [len(chain_of(drafted(LayerSparse(PLAN, 20, min_gap=gap), prompt))) for gap in (0.0, 0.3, 1.0, 1e9)]
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] == 20 > lengths[2]
    assert lengths[-1] == 0
