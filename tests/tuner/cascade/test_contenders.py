"""Contenders for the cascade: which are measured, how, and what becomes of them."""

from __future__ import annotations

import pytest

from casspec.runtime.latency.predictor import LatencyPredictor, builtin_latency
from casspec.storage.schema import DrafterCandidate, Precision, Quantization
from casspec.tuner import closed_forms
from casspec.tuner.cascade.contenders import (
    RETRIEVAL,
    Contender,
    assemble_cascade,
    best_use,
    contenders,
    lookup_survival,
    measure_contender,
    trace,
)
from casspec.tuner.recordings.offline_acceptance import AcceptanceMeter
from casspec.tuner.search.plan_spec import PlanSpec
from tests.storage import samples
from tests.tuner.tiny import LAYERS, tiny_recordings, tiny_target


class FlatCosts:
    """Verification costs one step whatever its length; a draft step costs what the test says."""

    def __init__(self, c: float) -> None:
        self.c = c

    def verify(self, n_tokens: int) -> float:
        return 1.0

    def draft(self, spec: PlanSpec, n_tokens: int = 1) -> float:
        return self.c


def contender(a: float, layers: tuple[int, ...] = (2, 3), quantization: Quantization | None = None) -> Contender:
    alive = tuple(a**i for i in range(1, 9))
    candidate = samples.candidate(layers, acceptance=a, quantization=quantization)
    return Contender(candidate=candidate, survival={"sample": alive}, cells={"sample": ()})


def geometric(a: float) -> dict:
    return {"sample": tuple(a**i for i in range(1, 11))}


@pytest.mark.parametrize(("a_lookup", "largest_c"), [(0.1, 0.645), (0.2, 0.547), (0.3, 0.449), (0.5, 0.250)])
def test_the_best_use_beats_prompt_lookup_up_to_the_published_cost(a_lookup, largest_c) -> None:
    lookup = geometric(a_lookup)["sample"]
    alone = closed_forms.best_chain(lookup, 0.01, lambda n: 1.0)[1]
    alive = [0.73**i for i in range(1, 9)]
    assert best_use(alive, PlanSpec(), lookup, FlatCosts(largest_c - 0.01)) > alone
    assert best_use(alive, PlanSpec(), lookup, FlatCosts(largest_c + 0.02)) <= alone


def test_a_drafter_that_does_not_pay_is_kept_for_other_methods_alone() -> None:
    measured = [contender(0.5), contender(0.6, (1,))]
    cascade = assemble_cascade(measured, (), "retrieval-only", geometric(0.3), FlatCosts(0.8))
    assert cascade.decision == "retrieval-only"
    assert [spec.name for spec in cascade.drafters[:1]] == [measured[1].name]
    assert cascade.drafters[0].parameters["cascade"] is False
    assert cascade.drafters[1:] == RETRIEVAL
    assert cascade.methods[0].method == "layer-sparse"
    assert cascade.methods[0].parameters == {"n_tokens": 1}


def test_chosen_drafters_come_first_and_a_sparse_one_stays_beside_them() -> None:
    int8 = Quantization(precision=Precision.INT8_DYNAMIC, extra_bytes=1000)
    quantised = contender(0.9, (), int8)
    many = [quantised, contender(0.7, (1,)), contender(0.8, (2,))]
    cascade = assemble_cascade(many, (quantised.name,), "cascade", geometric(0.1), FlatCosts(0.2))
    kept = [spec for spec in cascade.drafters if spec.kind == "self"]
    assert [(spec.name, spec.parameters["cascade"]) for spec in kept] == [("int8", True), (many[2].name, False)]
    assert kept[0].quantization == int8
    assert cascade.decision == "cascade"
    with_tasks = assemble_cascade(
        many, (), "retrieval-only", geometric(0.1), FlatCosts(0.2), for_tasks=("int8", "int8")
    )
    kept = [spec for spec in with_tasks.drafters if spec.kind == "self"]
    assert [(spec.name, spec.parameters["cascade"]) for spec in kept] == [(many[2].name, False), ("int8", False)]


def test_nothing_is_recommended_when_nothing_is_predicted_to_pay() -> None:
    cascade = assemble_cascade([contender(0.3)], (), "off", geometric(0.001), FlatCosts(0.9))
    assert cascade.decision == "off"
    assert all(spec.kind == "self" for spec in cascade.drafters)


def test_contenders_come_from_the_front_and_are_not_the_target() -> None:
    def make(acceptance: float, cost: float, layers: tuple[int, ...], precision: Precision) -> DrafterCandidate:
        quantization = Quantization(precision=precision)
        candidate = samples.candidate(layers, acceptance=acceptance, quantization=quantization)
        return candidate.model_copy(update={"cost": cost})

    target, int8 = make(1.0, 1.0, (), Precision.TARGET), make(0.95, 0.5, (), Precision.INT8_DYNAMIC)
    good, dominated = make(0.9, 0.3, (1,), Precision.TARGET), make(0.8, 0.4, (2,), Precision.TARGET)
    every, lookup = [target, int8, good, dominated], geometric(0.3)
    assert set(contenders(every, lookup, FlatCosts(0.3), depth=8)) == {good, int8}
    better = make(0.96, 0.2, (), Precision.INT8_DYNAMIC)
    assert contenders([*every, better], lookup, FlatCosts(0.3), depth=8) == [better, good]  # dominated, yet needed


def test_contenders_are_measured_in_both_modes_under_their_own_name() -> None:
    target = tiny_target()
    meter = AcceptanceMeter(target, tiny_recordings(target))
    candidate = samples.candidate((2,), acceptance=0.5)
    measured = measure_contender(candidate, trace(meter, candidate, LAYERS), meter.block)
    assert set(measured.survival) == set(measured.cells) == {"greedy", "sample"}
    for mode, alive in measured.survival.items():
        assert list(alive) == sorted(alive, reverse=True)
        assert sum(cell.trials for cell in measured.cells[mode]) == 2 * 24 * 4
        assert all(cell.key.startswith(f"{PlanSpec.of(candidate).name}:") for cell in measured.cells[mode])
    assert Contender.model_validate_json(measured.canonical_json()) == measured
    assert LatencyPredictor(builtin_latency(target)).forward_ms(target.full_plan, 1, 64) > 0


def test_lookup_survives_where_the_text_repeats() -> None:
    target = tiny_target()
    recording = tiny_recordings(target, n=1)[0]
    looping = type(recording)(
        **{name: getattr(recording, name) for name in recording.__dataclass_fields__}
        | {
            "prompt_tokens": recording.prompt_tokens[:0] + 1,
            "continuation_tokens": recording.continuation_tokens * 0 + 5,
        }
    )
    survival = lookup_survival([looping])["greedy"]
    assert survival[0] == pytest.approx(22 / 24)  # all but the first two tokens: nothing to match, nothing that follows
    assert survival[0] > survival[9] > 0
