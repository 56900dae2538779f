"""Chains of a plan that skips sub-layers: which plan of a profile it is."""

from __future__ import annotations

from dataclasses import replace

from casspec.runtime.decode import Decoder
from casspec.storage.schema import Precision, Quantization
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
