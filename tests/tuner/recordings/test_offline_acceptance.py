"""Offline acceptance equals drafting step by step over the target's rows."""

from __future__ import annotations

import numpy as np
import pytest

from casspec.runtime.decoding.acceptance import CellCounter, confidence_bucket
from casspec.runtime.decoding.noise import GumbelNoise
from casspec.runtime.model.plan import Plan
from casspec.runtime.model.target import TargetModel
from casspec.storage.schema import SkipSet
from casspec.tuner.recordings import offline_acceptance as acceptance
from casspec.tuner.recordings import teacher_forcing as teacher
from casspec.tuner.recordings.offline_acceptance import AcceptanceMeter, PlanTrace
from casspec.tuner.recordings.recording import Recording
from tests.tuner.tiny import LAYERS, step_logits, tiny_recordings, tiny_target

BLOCK = 5
PLAN = Plan.skipping(SkipSet(attention=(1, 3), mlp=(2,)), LAYERS, name="sparse")


@pytest.fixture(scope="module")
def target() -> TargetModel:
    return tiny_target()


@pytest.fixture(scope="module")
def recordings(target: TargetModel) -> list[Recording]:
    return tiny_recordings(target)


def drafted_step_by_step(target: TargetModel, recording: Recording, depths: np.ndarray) -> list[list[int]]:
    """Best candidates at each position with the target's rows below the block and the plan's own rows inside it."""
    tokens, n_prompt = recording.tokens.tolist(), len(recording.prompt_tokens)
    noise = GumbelNoise(recording.seed, target.vocab_size)
    drafted = []
    for j, depth in enumerate(depths.tolist()):
        query = n_prompt - 1 + j
        own = range(query - depth + 1, query + 1)
        rows = [(PLAN if i in own else target.full_plan, i) for i in range(query + 1)]
        scores = recording.sampling.scores(step_logits(target, rows, tokens[: query + 1])[None])[0]
        if recording.mode == "sample":
            scores = scores + noise.rows(query + 1, 1)[0]
        drafted.append(scores.topk(acceptance.TRACED_CANDIDATES).indices.tolist())
    return drafted


@pytest.mark.parametrize("index", range(4))
@pytest.mark.parametrize("deep", [False, True], ids=["first token", "depth profile"])
def test_parallel_scores_equal_step_by_step_drafting(target, recordings, index, deep) -> None:
    meter = AcceptanceMeter(target, recordings, block=BLOCK)
    trace = meter.depth_profile(PLAN, index) if deep else meter.first_token(PLAN, index)
    assert trace.token_ids.tolist() == drafted_step_by_step(target, recordings[index], trace.depths)
    assert set(trace.depths.tolist()) == (set(range(1, BLOCK + 1)) if deep else {1})
    assert 0 < trace.hits.mean() < 1


def test_blocks_longer_than_a_forward_are_cut_between_blocks(target, recordings, monkeypatch) -> None:
    whole = AcceptanceMeter(target, recordings, block=BLOCK).depth_profile(PLAN, 1)
    for module in (acceptance, teacher):
        monkeypatch.setattr(module, "LONGEST_CHUNK", 8)
    parts = AcceptanceMeter(target, recordings, block=BLOCK).depth_profile(PLAN, 1)
    assert np.array_equal(whole.token_ids, parts.token_ids)
    assert np.array_equal(whole.depths, parts.depths)


def test_recordings_past_the_memory_budget_score_the_same(target, recordings) -> None:
    resident, recomputed = AcceptanceMeter(target, recordings), AcceptanceMeter(target, recordings, resident_bytes=0)
    for meter in (resident, recomputed):
        meter.first_token(Plan.skipping(SkipSet(mlp=(1, 2, 3)), LAYERS), 1)  # leaves its rows in the tail slots
    first, second = resident.first_token(PLAN, 1), recomputed.first_token(PLAN, 1)
    assert np.array_equal(first.token_ids, second.token_ids)
    assert np.allclose(first.gaps, second.gaps)


def test_the_target_itself_is_always_accepted(target, recordings) -> None:
    meter = AcceptanceMeter(target, recordings)
    for index in range(len(recordings)):
        assert meter.first_token(target.full_plan, index).hits.all()
        assert meter.depth_profile(target.full_plan, index).hits.all()


def trace_of(hits: list[int], depths: list[int], gaps: list[list[float]] | None = None) -> PlanTrace:
    n = len(hits)
    ids = np.array([[1 if hit else 0, 2, 3, 4] for hit in hits], np.int32)
    gaps_array = np.array(gaps or [[1.0, -1.0, -2.0, -3.0]] * n, np.float32)
    return PlanTrace(ids, gaps_array, np.ones(n, np.int32), np.array(depths, np.int16))


def test_survival_counts_runs_and_depth_means_do_not() -> None:
    trace = trace_of([1, 1, 0, 0, 1, 1], [1, 2, 3, 1, 2, 3])
    assert acceptance.acceptance_by_depth([trace], 4) == ((0.5, 1.0, 0.5), (2, 2, 2))
    assert acceptance.survival_by_depth([trace], 3) == (0.5, 0.5, 0.0)


def test_short_blocks_at_the_end_of_a_text_do_not_bias_survival() -> None:
    trace = trace_of([1, 1, 1, 1, 1, 0], [1, 2, 3, 1, 1, 1])
    assert acceptance.survival_by_depth([trace], 4) == (0.75, 0.75, 0.75)


def test_a_share_by_depth_comes_with_the_positions_it_is_of() -> None:
    traces = [trace_of([1, 1, 1, 1], [1, 2, 3, 1]), trace_of([0, 1], [1, 2])]
    assert acceptance.acceptance_by_depth(traces, 4) == ((2 / 3, 1.0, 1.0), (3, 2, 1))
    assert acceptance.acceptance_by_depth(traces, 2) == ((2 / 3, 1.0), (3, 2))


def test_confidence_cells_hold_every_candidate_of_every_position() -> None:
    counter = CellCounter()
    acceptance.count_confidence([trace_of([1, 0], [1, 1])], "sparse", counter)
    cells = {cell.key: (cell.accepted, cell.trials) for cell in counter.cells()}
    assert cells[f"sparse:{confidence_bucket(1.0)}"] == (1, 2)
    assert sum(trials for _, trials in cells.values()) == 8


def test_cells_start_the_table_of_the_drafter(target, recordings) -> None:
    from casspec.runtime.decoding.acceptance import AcceptanceTable, self_prior_means
    from casspec.storage.schema import AcceptancePrior

    counter = CellCounter()
    meter = AcceptanceMeter(target, recordings)
    acceptance.count_confidence([meter.depth_profile(PLAN, i) for i in range(4)], "sparse", counter)
    prior = AcceptancePrior(mode="greedy", cells=tuple(counter.cells()))
    built_in, started = self_prior_means(0.5), AcceptanceTable("sparse", self_prior_means(0.5), prior).estimate
    assert started != built_in
    assert AcceptanceTable("other", self_prior_means(0.5), prior).estimate == pytest.approx(built_in)
