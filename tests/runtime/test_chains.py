"""Chains from a plan: where they end, and which layers they run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from casspec.runtime.decode import Decoder
from casspec.runtime.policies.draft_verify import AdaptiveThreshold
from casspec.runtime.policies.early_exit import first_layers
from casspec.storage.errors import UnsupportedOption
from casspec.storage.schema import Precision, Quantization
from tests.runtime.tiny import repetitive_prompt, tiny_profile, tiny_target


def test_the_threshold_follows_the_published_rule() -> None:
    threshold = AdaptiveThreshold(start=0.8, goal=0.9, step=0.01, rate_decay=0.5, decay=0.9)
    threshold.update(4, 4, full=False)  # AR .5: too few accepted, stop earlier
    assert threshold.value == pytest.approx(0.801)
    for _ in range(3):
        threshold.update(4, 4, full=False)  # AR .75, .875, .9375
    assert threshold.value == pytest.approx(0.802)
    threshold.update(8, 8, full=True)  # a full chain cannot be made longer
    assert threshold.value == pytest.approx(0.802)
    threshold.update(0, 2, full=True)  # AR .484
    assert threshold.value == pytest.approx(0.803)
    threshold.reset()
    assert threshold.value == 0.8


@pytest.mark.parametrize(("threshold", "n_tokens"), [(0.0, 5), (1.1, 1)])
def test_a_chain_ends_with_the_first_token_under_the_threshold(threshold: float, n_tokens: int) -> None:
    target = tiny_target(seed=7)
    parameters = {"n_tokens": 5, "threshold": threshold, "step": 0.0}
    decoder = Decoder(target, tiny_profile(target), "draft-verify", parameters)
    lengths: list[int] = []
    policy = decoder._policy("greedy")
    observe = policy.observe
    policy.observe = lambda sequence, outcome: (lengths.append(len(outcome.tree) - 1), observe(sequence, outcome))
    decoder.generate(repetitive_prompt(30), 60)
    assert set(lengths[:-5]) == {n_tokens}  # the last ones may not be longer than the request


@pytest.mark.parametrize(("share", "layers"), [(0.5, [0, 1, 2, 3]), (0.01, [0]), (1.0, list(range(8)))])
def test_an_early_exit_runs_the_first_layers_whole(share: float, layers: list[int]) -> None:
    assert first_layers(8, share).steps == tuple((layer, True, True) for layer in layers)


@pytest.mark.parametrize("share", [0.0, -1.0, 1.5])
def test_an_exit_outside_the_layers_is_refused_in_one_line(share: float) -> None:
    with pytest.raises(UnsupportedOption, match=r"exit_share .* \(0, 1\]") as refusal:
        Decoder(tiny_target(), method="early-exit", parameters={"exit_share": share})
    assert "\n" not in str(refusal.value)


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


@pytest.mark.parametrize(("precision", "drafter"), [("int8-dynamic", "int8"), ("int4-weight", "int4")])
def test_a_quantised_chain_may_also_skip_what_a_plan_of_the_profile_skips(precision: str, drafter: str) -> None:
    target = tiny_target(seed=7, intermediate_size=64)
    if target.refusal(Precision(precision)):
        pytest.skip(f"{precision} cannot run on this processor")
    prompt = repetitive_prompt(30)
    alone = Decoder(target, tiny_profile(target), "quantised", {"precision": precision})
    assert alone.generate(prompt, 40).statistics.drafted_by.keys() == {drafter}
    skipping = Decoder(target, tiny_profile(target), "quantised", {"precision": precision, "drafter": "light"})
    statistics = skipping.generate(prompt, 40).statistics
    assert statistics.drafted_by.keys() == {f"{drafter}-light"}
    assert alone.generate(prompt, 40).statistics.acceptance_rate > statistics.acceptance_rate


@pytest.mark.parametrize(
    ("precision", "named"),
    [
        ("int2", r"int8-dynamic or int4-weight, not 'int2'"),
        ("target", r"int8-dynamic or int4-weight, not 'target'"),
        ("int4-weight", r"int4-weight cannot run here"),  # 48 neurons are no multiple of a group
    ],
)
def test_a_precision_that_cannot_run_is_refused_in_one_line(precision: str, named: str) -> None:
    with pytest.raises(UnsupportedOption, match=named) as refusal:
        Decoder(tiny_target(), method="quantised", parameters={"precision": precision})
    assert "\n" not in str(refusal.value)
