"""What a trial of the search costs, over the target's own pass over the same tokens.

    python benchmarks/trial_cost.py

A plan that runs a share of the target's multiply-adds can at best be scored in that share of the time of one target forward a
recording. Printed for several plans: a trial's time over the own pass, the same over the active share (1 is ideal), and
that of a trial with its depth profile. Both passes go over the same positions of the same recordings, in turn, plan by plan;
the figures are medians of the ratios within a round. The last line of stdout is one JSON document.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from statistics import median

import click
import torch

import casspec
from casspec.cli.options import apply_threads
from casspec.runtime.latency.predictor import LatencyPredictor, builtin_latency
from casspec.runtime.model.forward_input import QUERY_BUCKETS
from casspec.runtime.model.plan import Plan
from casspec.runtime.model.target import TargetModel
from casspec.tuner.bench.requests import SAMPLING_TEMPERATURE
from casspec.tuner.recordings.offline_acceptance import AcceptanceMeter
from casspec.tuner.recordings.recording import Recording, typical_context
from casspec.tuner.recordings.side_by_side import TextRecorder, TextWanted
from casspec.tuner.recordings.teacher_forcing import masked_input
from casspec.tuner.search.plan_spec import PlanSpec
from casspec.tuner.search.starting_plans import uniform
from casspec.tuner.search.trial import CandidateEvaluator
from casspec.tuner.suites.load import load_suite
from casspec.tuner.suites.prompts import spread_over_tasks
from casspec.tuner.suites.token_prompts import token_prompts


def multiply_adds(target: TargetModel, plan: Plan, attended: float) -> float:
    """Of one token under a plan, the head and the scores over `attended` rows included."""
    costs = target.costs()
    attention = costs["attention_operations"] + costs["score_operations"] * attended
    operations = plan.n_attention * attention + plan.n_mlp * costs["mlp_operations"] + costs["head_operations"]
    return operations / 2


def own_passes(target: TargetModel, recordings: list[Recording]) -> Callable[[], None]:
    """The target's forwards over the continuations, each position after the rows before it, as in decoding a prompt."""
    forwards = []
    for recording in recordings:
        text = torch.from_numpy(recording.tokens).long()
        places = torch.arange(len(recording.prompt_tokens) - 1, len(text) - 1)
        cache = target.new_cache(len(text))
        visible = torch.arange(len(text) - 1)[None] <= places[:, None]
        forwards.append((masked_input(target, cache, text[places], places, places, visible), cache))

    def run() -> None:
        for inputs, cache in forwards:
            target.forward(inputs, cache, target.full_plan)

    return run


def seconds_of(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


@click.command()
@click.option("--target", "name", default="reference", show_default=True)
@click.option("--recordings", "count", default=10, show_default=True)
@click.option("--tokens", type=click.IntRange(2, QUERY_BUCKETS[-1]), default=128, show_default=True)
@click.option("--rounds", default=5, show_default=True)
@click.option("--threads", type=int, help="CPU threads; by default all cores available.")
def main(name: str, count: int, tokens: int, rounds: int, threads: int | None) -> None:
    """Print the table and the JSON."""
    n_threads = apply_threads(threads)
    target = casspec.load_target(name)
    prompts = token_prompts(target, spread_over_tasks(load_suite("reference").half("tuning"), count))
    wanted = [TextWanted(one.id, one.task, tuple(one.token_ids), "sample") for one in prompts]
    recordings = list(TextRecorder(target, tokens, SAMPLING_TEMPERATURE, seed=0)(wanted))
    context = typical_context(recordings)
    meter = AcceptanceMeter(target, recordings)
    evaluator = CandidateEvaluator(target, meter, LatencyPredictor(builtin_latency(target)), context)
    own = own_passes(target, recordings)
    specs = [PlanSpec(skip) for skip in uniform(target.n_layers)[::2]]
    trials = {
        (spec, deep): lambda spec=spec, deep=deep: evaluator.evaluate(spec, "uniform", profile_depths=deep)
        for spec in specs
        for deep in (False, True)
    }
    ratios: dict[tuple[PlanSpec, bool], list[float]] = {calibration_id: [] for calibration_id in trials}
    noise = []
    for turn in range(rounds + 1):
        for calibration_id, trial in trials.items():
            before, took, after = seconds_of(own), seconds_of(trial), seconds_of(own)
            if turn:  # the first round loads recordings and builds masks
                ratios[calibration_id].append(2 * took / (before + after))
                noise.append(abs(before - after) / min(before, after))
    full = multiply_adds(target, target.full_plan, context)
    rows = []
    print("| plan | active share | trial / own pass | over active share | with depth profile |\n|---|--:|--:|--:|--:|")
    for spec in specs:
        active = multiply_adds(target, spec.plan(target.n_layers), context) / full
        plain, deep = (median(ratios[spec, flag]) for flag in (False, True))
        rows.append({"plan": spec.name, "active": active, "ratio": plain / active, "with_depths": deep / active})
        print(f"| {spec.name} | {active:.3f} | {plain:.3f} | {plain / active:.2f} | {deep / active:.2f} |")
    about = {"target": name, "dtype": target.dtype_name, "threads": n_threads, "recordings": count, "tokens": tokens}
    print(json.dumps({"schema": 1, "about": about | {"rounds": rounds, "noise": median(noise)}, "rows": rows}))


if __name__ == "__main__":
    main()
