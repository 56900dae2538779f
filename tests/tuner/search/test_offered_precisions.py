"""Which precisions a search may choose from: those offered, as far as the memory allows."""

from __future__ import annotations

from casspec.profiler.precisions import PrecisionVerdict
from casspec.profiler.progress import silent
from casspec.runtime.latency.predictor import LatencyPredictor, builtin_latency
from casspec.runtime.model.lean.quantization import extra_bytes
from casspec.runtime.model.target import TargetModel
from casspec.storage import open_repository
from casspec.storage.measurements import VERDICT_KIND
from casspec.storage.repository import Repository
from casspec.storage.schema import Precision
from casspec.tuner.calibration.attempt import begin
from casspec.tuner.cascade.contenders import Costs, assemble_cascade, lookup_survival, measure_contender, trace
from casspec.tuner.context import CalibrationContext
from casspec.tuner.external_databases import external_databases
from casspec.tuner.recordings.offline_acceptance import BLOCK, AcceptanceMeter
from casspec.tuner.search.plan_spec import PlanSpec
from casspec.tuner.search.stage import search
from casspec.tuner.settings import CalibrationSettings
from tests.runtime.tiny import library_model
from tests.tuner.small_calibration import SETTINGS, SUITE
from tests.tuner.tiny import VOCAB, tiny_recordings


def offering_4_bits(
    repository: Repository, database: str, target: TargetModel, settings: CalibrationSettings
) -> CalibrationContext:
    """A calibration whose profile found 4 bits worth offering."""
    context = begin(repository, external_databases(database), target, SUITE, settings)
    needed = extra_bytes(target.lean.weights, Precision.INT4_WEIGHT)
    verdict = PrecisionVerdict(precision=Precision.INT4_WEIGHT, reason=None, extra_bytes=needed, ratios={1: 0.5})
    repository.put_document(
        context.calibration_id, VERDICT_KIND, Precision.INT4_WEIGHT, verdict.model_dump(mode="json")
    )
    return context


def test_plans_that_need_more_memory_than_allowed_are_not_searched(tmp_path) -> None:
    target = TargetModel(library_model(vocab_size=VOCAB, intermediate_size=64, num_hidden_layers=4), name="tiny")
    settings = SETTINGS.changed(
        {"cascade": {"max_extra_bytes": extra_bytes(target.lean.weights, Precision.INT4_WEIGHT) - 1}}
    )
    with open_repository(str(tmp_path / "casspec.db")) as repository:
        context = offering_4_bits(repository, str(tmp_path / "casspec.db"), target, settings)
        found = search(context, tiny_recordings(target, n_tokens=12), builtin_latency(target), silent)
    assert {candidate.quantization.precision for candidate in found} == {Precision.TARGET}


def test_offered_precisions_are_searched_and_carry_their_memory(tmp_path) -> None:
    target = TargetModel(library_model(vocab_size=VOCAB, intermediate_size=64, num_hidden_layers=4), name="tiny")
    settings = SETTINGS.changed({"search": {"trials": 20}})
    with open_repository(str(tmp_path / "casspec.db")) as repository:
        context, recordings = (
            offering_4_bits(repository, str(tmp_path / "casspec.db"), target, settings),
            tiny_recordings(target, n_tokens=12),
        )
        found = search(context, recordings, builtin_latency(target), silent)
        assert search(context, recordings, builtin_latency(target), silent) == found
    quantised = [candidate for candidate in found if candidate.quantization.precision is Precision.INT4_WEIGHT]
    needed = extra_bytes(target.lean.weights, Precision.INT4_WEIGHT)
    assert PlanSpec.of(found[0]) == PlanSpec(precision=Precision.INT4_WEIGHT)
    assert 0 < len(quantised) < len(found) == settings.search.trials
    assert {candidate.quantization.extra_bytes for candidate in quantised} == {needed}

    contender = measure_contender(
        found[0], trace(AcceptanceMeter(target, recordings), found[0], target.n_layers), BLOCK
    )
    costs = Costs(target, LatencyPredictor(builtin_latency(target)), context_tokens=64)
    (drafter, *_) = assemble_cascade(
        [contender], [contender.name], "cascade", lookup_survival(recordings), costs
    ).drafters
    assert (drafter.name, drafter.quantization.extra_bytes) == ("int4", needed)
