"""The classes as vLLM calls them: the same arrays in every call, rows verified as its sampler does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from casspec.engines.result import RESULT_VARIABLE, DraftingResult, LatencyPoint
from casspec.engines.vllm import (
    MEMORY_VARIABLE,
    PROBE_VARIABLE,
    TRIAL_STEPS,
    TRIAL_TOKENS,
    Probe,
    Proposer,
    draft_length_limits,
)
from casspec.storage.errors import CasspecError, UnsupportedOption

CONTEXT = 2048


def config(n_tokens: int = 8, context: int = CONTEXT, table: Any = None) -> Any:
    speculative = SimpleNamespace(num_speculative_tokens=n_tokens, num_speculative_tokens_per_batch_size=table)
    return SimpleNamespace(
        speculative_config=speculative,
        model_config=SimpleNamespace(max_model_len=context),
        device_config=SimpleNamespace(device_type="cpu"),
    )


@pytest.fixture(autouse=True)
def without_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (RESULT_VARIABLE, MEMORY_VARIABLE, PROBE_VARIABLE):
        monkeypatch.delenv(name, raising=False)


class Engine:
    """Requests whose texts are known beforehand, verified token by token. A step takes `ms` of its drafted tokens."""

    def __init__(
        self, drafter: Any, requests: Sequence[tuple[Sequence[int], Sequence[int]]], clock: list[float]
    ) -> None:
        self.drafter, self.clock = drafter, clock
        self.tokens = np.zeros((len(requests), CONTEXT), np.int32)
        self.lengths = np.array([len(prompt) for prompt, _ in requests], np.int32)
        for row, (prompt, _) in zip(self.tokens, requests, strict=True):
            row[: len(prompt)] = prompt
        self.left = [list(output) for _, output in requests]
        self.drafts: list[list[int]] = [[] for _ in requests]
        self.steps = self.drafted = 0
        self.growth_ms = 1.0

    def step(self) -> None:
        sampled = []
        for i, left in enumerate(self.left):
            n = 0
            while n < min(len(self.drafts[i]), len(left) - 1) and self.drafts[i][n] == left[n]:
                n += 1
            came, self.left[i] = left[: n + 1], left[n + 1 :]
            self.tokens[i, self.lengths[i] : self.lengths[i] + len(came)] = came
            self.lengths[i] += len(came)
            sampled.append(came)
        n_drafted = sum(map(len, self.drafts))
        self.clock[0] += 1e-3 * (20 + self.growth_ms * n_drafted)
        self.steps += 1
        self.drafted += n_drafted
        self.drafts = self.drafter.propose(sampled, self.lengths, self.tokens, slot_mappings=None)

    def run(self) -> None:
        while all(self.left):
            self.step()


def proposer(*arguments: Any, **options: Any) -> tuple[Proposer, list[float]]:
    clock = [0.0]
    return Proposer(config(*arguments, **options), lambda: clock[0]), clock


def random_tokens(n: int, seed: int = 0, most: int = 1000) -> list[int]:
    return np.random.default_rng(seed).integers(0, most, n).tolist()


def test_a_prompt_that_is_copied_takes_few_steps() -> None:
    drafter, clock = proposer()
    prompts = [random_tokens(200, seed) for seed in range(4)]
    engine = Engine(drafter, [(prompt, prompt) for prompt in prompts], clock)
    engine.run()
    assert engine.steps < 60


def test_a_text_that_repeats_nothing_is_not_drafted_for() -> None:
    drafter, clock = proposer()
    text = np.random.default_rng(0).permutation(1500).tolist()
    engine = Engine(drafter, [(text[:200], text[200:1200])], clock)
    engine.run()
    assert engine.drafted == 0


def test_where_chains_are_wrong_drafting_ends_and_comes_back_with_what_is_copied() -> None:
    drafter, clock = proposer()
    rng = np.random.default_rng(0)
    prompt = random_tokens(400, 1, 60)
    misleading, copied = rng.integers(0, 60, 600).tolist(), prompt[50:350]
    engine = Engine(drafter, [(prompt, [*misleading, *copied])], clock)
    engine.growth_ms = 4.0
    while len(engine.left[0]) > 400:
        engine.step()
    before = engine.drafted
    while len(engine.left[0]) > 300:
        engine.step()
    assert engine.drafted - before <= 10
    steps = engine.steps
    engine.run()
    assert engine.steps - steps < 200


def test_an_output_is_drafted_from_an_earlier_one_unless_none_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = []
    for kept in ("10000", "0"):
        monkeypatch.setenv(MEMORY_VARIABLE, kept)
        drafter, clock = proposer()
        output = np.random.default_rng(1).permutation(1000)[:300].tolist()
        for seed in range(2):
            engine = Engine(drafter, [(random_tokens(50, seed, 2000), output)], clock)
            engine.run()
        steps.append(engine.steps)
    assert steps[0] < 100
    assert steps[1] > 280


def test_dear_tokens_are_drafted_less_than_cheap_ones() -> None:
    drafted = []
    for growth_ms in (0.2, 15.0):
        drafter, clock = proposer()
        prompt = random_tokens(300, 2, 8)
        engine = Engine(drafter, [(prompt, random_tokens(600, 3, 8))], clock)
        engine.growth_ms = growth_ms
        engine.run()
        drafted.append(engine.drafted / engine.steps)
    assert drafted[0] > 3 * drafted[1]


def test_a_measured_latency_is_drafted_by_from_the_first_step(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first = []
    prompt = random_tokens(100, 4)
    for ms in (10.1, 60.0):
        points = tuple(LatencyPoint(batch=1, draft_tokens=n, milliseconds=10 if n == 0 else ms) for n in (0, 8))
        path = tmp_path / "result.json"
        path.write_text(DraftingResult(latency=points).canonical_json(), encoding="utf-8")
        monkeypatch.setenv(RESULT_VARIABLE, str(path))
        engine = Engine(*(lambda made: (made[0], [(prompt, prompt[10:60])], made[1]))(proposer()))
        engine.step()
        engine.step()
        first.append(len(engine.drafts[0]))
    assert first == [8, 0]


def test_a_cost_guessed_too_high_is_tried_now_and_then() -> None:
    drafter, clock = proposer()
    drafter._costs.observe(1, 0, 20.0)
    prompt = random_tokens(40, 5, 4)
    engine = Engine(drafter, [(prompt, random_tokens(1200, 6, 4))], clock)
    drafter._costs.costs = lambda batch, n: 1.0 + 10.0 * np.arange(n + 1)  # type: ignore[method-assign]
    for _ in range(3 * TRIAL_STEPS):
        engine.step()
    assert 2 * TRIAL_TOKENS <= engine.drafted + len(engine.drafts[0]) <= 3 * TRIAL_TOKENS


def test_the_context_and_the_table_by_batch_bound_what_is_drafted() -> None:
    loop = [1, 2, 3] * 40
    drafter, _ = proposer(context=130, table=[[1, 1, 5], [2, 4, 0]])
    rows = np.zeros((2, 130), np.int32)
    rows[:, :120] = loop
    lengths = np.array([120, 120], np.int32)
    assert len(drafter.propose([[3]], lengths, rows)[0]) == 5
    rows[0, 120:127] = [*loop[:6], 1]
    assert len(drafter.propose([rows[0, 120:127].tolist()], lengths + 7, rows)[0]) == 2
    assert drafter.propose([[], [3]], lengths, rows) == [[], []]


@pytest.mark.parametrize(
    ("table", "batches"),
    [(None, {1: 8, 99: 8}), ([[1, 2, 4], [5, 8, 0]], {1: 4, 4: 4, 5: 0, 99: 0}), ([[1, 4, 20]], {1: 8})],
)
def test_a_table_by_batch_reaches_from_each_row_to_the_next(table: Any, batches: dict[int, int]) -> None:
    limit = draft_length_limits(config(table=table).speculative_config, 8)
    assert {batch: limit(batch) for batch in batches} == batches


def test_rows_that_read_prompts_draft_nothing_and_teach_nothing() -> None:
    drafter, clock = proposer()
    rows, lengths = np.zeros((2, CONTEXT), np.int32), np.array([30, 40], np.int32)
    assert drafter.propose([[], []], lengths, rows) == [[], []]
    clock[0] += 5
    assert drafter.propose([[], []], lengths, rows) == [[], []]
    assert drafter.propose([], lengths, rows) == []


@pytest.mark.parametrize("told", ["many", "-1", "1.5"])
def test_a_memory_size_that_is_none_is_one_line(monkeypatch: pytest.MonkeyPatch, told: str) -> None:
    monkeypatch.setenv(MEMORY_VARIABLE, told)
    with pytest.raises(CasspecError, match="expected a number of tokens"):
        Proposer(config())


def test_a_probe_drafts_as_many_as_its_file_says_now(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    control = tmp_path / "probe.json"
    monkeypatch.setenv(PROBE_VARIABLE, str(control))
    probe = Probe(config(n_tokens=4, context=64))
    probe.load_model(None)
    rows, lengths = np.arange(128, dtype=np.int32).reshape(2, 64), np.array([10, 61], np.int32)

    def drafted() -> list[list[int]]:
        return probe.propose([[9], [60]], lengths, rows, slot_mappings=None)

    assert drafted() == [[], []]
    for number, (told, expected) in enumerate([("3", 3), ("0", 0), ("9", 4), ("-2", 0), ("2", 2)]):
        control.write_text(f'{{"draft_tokens": {told}}}', encoding="utf-8")
        os.utime(control, ns=(number, number))
        assert [len(each) for each in drafted()] == [expected, min(expected, 2)]
    assert drafted()[0] == [0, 1]
    control.write_text('{"draft_', encoding="utf-8")
    assert len(drafted()[0]) == 2
    control.unlink()
    assert drafted() == [[], []]
    assert probe.propose([[], [60]], lengths, rows)[0] == []


def test_a_probe_of_short_rows_repeats_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    control = tmp_path / "probe.json"
    control.write_text(json.dumps({"draft_tokens": 5}), encoding="utf-8")
    monkeypatch.setenv(PROBE_VARIABLE, str(control))
    rows = np.array([[7, 8, 0, 0, 0, 0, 0, 0, 0, 0]], np.int32)
    assert Probe(config(context=10)).propose([[8]], np.array([2]), rows) == [[7, 8, 7, 8, 7]]


def test_a_probe_without_a_file_is_one_line() -> None:
    with pytest.raises(UnsupportedOption, match=PROBE_VARIABLE):
        Probe(config())


def test_an_engine_imports_it_without_a_model() -> None:
    script = "import sys, casspec.engines.vllm\nprint({name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd="/")
    loaded = set(eval(done.stdout))
    assert not loaded & {"torch", "transformers", "click", "rich", "sqlalchemy", "optuna", "mlflow", "sklearn"}
