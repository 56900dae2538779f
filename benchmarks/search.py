"""Searches of drafters compared: hypervolume of the front by trials, every sampler on the same evaluator.

    python benchmarks/search.py --json build/search.json --figure docs/figures/search.png

A plan's score on given recordings never changes, so it is computed once for all searches and seeds. Costs are predicted
by the latency model of a stored profile, or by built-in coefficients where there is none: no figure here is a timing,
and the script may run on a busy machine. Every finished run is written to the JSON file at once; a run found there is
not repeated. The last line of stdout is one JSON document.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from statistics import median
from typing import Any

import click
import torch
from torch import Tensor

import casspec
from casspec.runtime.latency.predictor import LatencyPredictor, builtin_latency
from casspec.runtime.loading.fingerprint import model_fingerprint
from casspec.runtime.model.forward_input import ForwardInput
from casspec.runtime.model.kv_cache import KVCache
from casspec.runtime.model.plan import Plan
from casspec.runtime.model.target import TargetModel
from casspec.storage import open_repository
from casspec.storage.schema import DrafterCandidate, LatencyModel, SkipSet
from casspec.testbed import is_testbed
from casspec.tuner.bench.requests import SAMPLING_TEMPERATURE
from casspec.tuner.recordings.offline_acceptance import AcceptanceMeter, PlanTrace
from casspec.tuner.recordings.recording import Recording, typical_context
from casspec.tuner.recordings.side_by_side import TextRecorder, TextWanted
from casspec.tuner.search.knapspec_plans import knapspec_sets
from casspec.tuner.search.pareto import hypervolume, pareto_front
from casspec.tuner.search.plan_spec import PlanSpec
from casspec.tuner.search.samplers.by_name import SAMPLERS
from casspec.tuner.search.study import DrafterSearch, SearchBudget
from casspec.tuner.search.trial import CandidateEvaluator
from casspec.tuner.suites.load import load_suite
from casspec.tuner.suites.prompts import Half, Suite, spread_over_tasks
from casspec.tuner.suites.token_prompts import token_prompts

BUDGETS = (100, 200, 300, 1000)
ENDLESS = 10**9

BOUNDARIES = (7, 6, 4)
"""Layers before which hidden states are kept: plans that begin alike share them. 2^10 plans begin alike up to layer 6."""


@dataclass(frozen=True)
class Search:
    """One way to search: a sampler, what it starts from, and its trials."""

    sampler: str
    sensitivity: bool = False
    knapspec: bool = False
    trials: int = 300

    @property
    def seeds(self) -> str:
        given = {"sensitivity": self.sensitivity, "knapspec": self.knapspec}
        return " + ".join(name for name, is_given in given.items() if is_given) or "none"

    @property
    def name(self) -> str:
        return f"{self.sampler}, seeds: {self.seeds}"


SEARCHES = (
    Search("random"),
    Search("random", sensitivity=True),
    Search("tpe"),
    Search("tpe", sensitivity=True),
    Search("nsga2"),
    Search("nsga2", sensitivity=True),
    Search("swift", trials=1000),
    Search("swift", sensitivity=True),
    Search("random", knapspec=True),
    Search("random", sensitivity=True, knapspec=True),
    Search("tpe", knapspec=True),
    Search("tpe", sensitivity=True, knapspec=True),
    Search("gp"),
    Search("gp", sensitivity=True),
)
"""`random` after knapspec's sets is the dynamic programme alone: what it leaves of the budget is filled at random."""


class RememberingMeter(AcceptanceMeter):
    """Scores every plan once on each recording, and runs what plans have in common at their beginning once."""

    def __init__(self, target: TargetModel, recordings: list[Recording]) -> None:
        super().__init__(target, recordings)
        self._traces: dict[tuple[Any, ...], PlanTrace] = {}
        self._states: dict[tuple[Any, ...], Tensor] = {}
        self._seen: dict[int, ForwardInput] = {}
        """Forwards with states, held so that no other ever has their ID."""
        self._model = target

    @property
    def n_scores(self) -> int:
        return len(self._traces)

    def first_token(self, plan: Plan, index: int) -> PlanTrace:
        calibration_id = (index, plan.steps)
        if calibration_id not in self._traces:
            trace = super().first_token(plan, index)
            best = trace.token_ids[:, :1].copy(), trace.gaps[:, :1].copy()
            self._traces[calibration_id] = PlanTrace(*best, trace.truth, trace.depths)
        return self._traces[calibration_id]

    def logits(self, plan: Plan, inputs: ForwardInput, cache: KVCache) -> Tensor:
        """As the target's own forward, from the deepest kept state on."""
        model = self._model
        self._seen[id(inputs)] = inputs
        keys = {layer: (id(inputs), tuple(step for step in plan.steps if step[0] < layer)) for layer in BOUNDARIES}
        begun = next((layer for layer in BOUNDARIES if keys[layer] in self._states), 0)
        x = self._states[keys[begun]] if begun else model.embed(inputs)
        frame = model.frame(inputs, cache)
        runs = {index: (attends, feeds) for index, attends, feeds in plan.steps}
        for index in range(begun, model.n_layers):
            if index in keys:
                self._states[keys[index]] = x
            attends, feeds = runs.get(index, (False, False))
            x = model.advanced(x, frame, ((index, attends, feeds),))
        return model.read(model.normalised(x))


class FirstTokens(CandidateEvaluator):
    """The evaluator of a calibration without depth profiles, which no sampler looks at."""

    def evaluate(
        self,
        spec: PlanSpec,
        source: str,
        rival: DrafterCandidate | None = None,
        recordings: int | None = None,
        profile_depths: bool = True,
    ) -> DrafterCandidate:
        return super().evaluate(spec, source, rival, recordings, profile_depths=False)


@dataclass(frozen=True)
class Bench:
    """What all searches share."""

    target: TargetModel
    tuning: FirstTokens
    reporting: FirstTokens
    find_knapspec: Callable[[], list[SkipSet]]

    @cached_property
    def knapspec(self) -> list[SkipSet]:
        return self.find_knapspec()

    def run(self, search: Search, seed: int) -> dict[str, Any]:
        """One search: hypervolume after every trial, and at each budget that of its front rescored on the reporting half."""
        found = DrafterSearch(
            self.tuning,
            self.target.n_layers,
            SearchBudget(search.trials, ENDLESS, ENDLESS),
            known=(),
            save=lambda candidate: candidate,
            study_url=None,
            study_name=search.name,
            seed=seed * 10_000,  # far apart: a search adds its candidates to its seed
            imported=[("knapspec", skip) for skip in self.knapspec] if search.knapspec else (),
            sampler=search.sampler,
            sensitivity=search.sensitivity,
        ).run()
        budgets = [budget for budget in BUDGETS if budget <= search.trials]
        return {
            "search": search.name,
            "seed": seed,
            "hypervolume": [round(hypervolume(found[:n]), 5) for n in range(1, len(found) + 1)],
            "rescored": {str(n): round(hypervolume(self.rescored(found[:n])), 5) for n in budgets},
        }

    def rescored(self, candidates: list[DrafterCandidate]) -> list[DrafterCandidate]:
        return [self.reporting.evaluate(PlanSpec.of(one), one.source) for one in pareto_front(candidates)]


def prepare(
    name: str, storage: str | None, n_recordings: int, n_tokens: int, n_prompt: int
) -> tuple[Bench, dict[str, Any]]:
    """The bench of a target and what to say about it. A testbed computes the reference's function: it is scored as that."""
    target = casspec.load_target("reference" if is_testbed(name) else name)
    latency, source = stored_latency(casspec.load_target(name) if is_testbed(name) else target, storage)
    suite, predictor = load_suite("reference"), LatencyPredictor(latency)
    meters = {
        half: RememberingMeter(target, recordings_of(target, suite, half, n_recordings, n_tokens, n_prompt))
        for half in ("tuning", "reporting")
    }
    tuning = meters["tuning"]
    context = typical_context(tuning.recordings)
    evaluators = {half: FirstTokens(target, meter, predictor, context) for half, meter in meters.items()}
    everything = list(range(n_recordings))
    about = {
        "target": name,
        "dtype": target.dtype_name,
        "cost": source,
        "recordings": n_recordings,
        "tokens": n_tokens,
        "prompt_tokens": n_prompt,
        "reference_point": {"acceptance": 0.0, "cost": 1.0},
    }
    find_knapspec = partial(knapspec_sets, target, tuning, predictor, context, everything)
    return Bench(target, evaluators["tuning"], evaluators["reporting"], find_knapspec), about


def stored_latency(target: TargetModel, storage: str | None) -> tuple[LatencyModel, str]:
    """The latency model of the newest profile of this target, on whatever device; else the built-in one."""
    model = model_fingerprint(target)
    with open_repository(storage) as repository:
        for profile in repository.profiles():
            if profile.model == model and profile.dtype == target.dtype_name:
                return profile.latency, f"profile {profile.profile_id} on {profile.device.name}"
    return builtin_latency(target), "built-in coefficients"


def recordings_of(
    target: TargetModel, suite: Suite, half: Half, count: int, n_tokens: int, n_prompt: int
) -> list[Recording]:
    """Recordings at temperature 0.7 after the last `n_prompt` tokens of prompts, in an order that mixes tasks."""
    prompts = token_prompts(target, spread_over_tasks(suite.half(half), count))
    wanted = [TextWanted(one.id, one.task, tuple(one.token_ids[-n_prompt:]), "sample") for one in prompts]
    made = {one.prompt_id: one for one in TextRecorder(target, n_tokens, SAMPLING_TEMPERATURE, seed=0)(wanted)}
    by_place: dict[str, list[Recording]] = {}
    for prompt in prompts:
        by_place.setdefault(prompt.task, []).append(made[prompt.id])
    turns = max(map(len, by_place.values()))
    return [of_task[turn] for turn in range(turns) for of_task in by_place.values() if turn < len(of_task)]


# ------------------------------------------------------------------------------------------------- table and figure


@dataclass(frozen=True)
class Row:
    """A search over its seeds."""

    search: Search
    runs: list[dict[str, Any]]

    def values(self, budget: int, rescored: bool) -> list[float]:
        if rescored:
            return [run["rescored"][str(budget)] for run in self.runs if str(budget) in run["rescored"]]
        return [run["hypervolume"][budget - 1] for run in self.runs if len(run["hypervolume"]) >= budget]

    def curve(self) -> list[float]:
        """Median over seeds after each trial."""
        return [median(values) for values in zip(*(run["hypervolume"] for run in self.runs), strict=False)]


def rows_of(runs: Iterable[dict[str, Any]]) -> list[Row]:
    by_name: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        by_name.setdefault(run["search"], []).append(run)
    return [Row(search, by_name[search.name]) for search in SEARCHES if search.name in by_name]


def table(rows: list[Row]) -> Iterator[str]:
    """Markdown: median hypervolume at each budget on the tuning half, then rescored, with the range over seeds."""
    heads = [f"{half} {budget}" for half in ("tuning", "reporting") for budget in BUDGETS]
    yield "| sampler | seeds | runs | " + " | ".join(heads) + " |"
    yield "|---|---|" + "--:|" * (len(heads) + 1)
    for row in rows:
        cells = []
        for rescored in (False, True):
            for budget in BUDGETS:
                values = row.values(budget, rescored)
                spread = f" ({min(values):.3f}–{max(values):.3f})" if rescored and values else ""
                cells.append(f"{median(values):.4f}{spread}" if values else "")
        yield f"| {row.search.sampler} | {row.search.seeds} | {len(row.runs)} | " + " | ".join(cells) + " |"


def draw(rows: list[Row], about: dict[str, Any], file: Path) -> None:
    """Median hypervolume by trials, a panel without and one with seeds; dashed is where SWIFT's search ends."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.0, 4.6), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    ends = [row.curve()[-1] for row in rows if row.search.trials == max(BUDGETS)]
    for axes, title in zip(panels, ("from nothing", "from seeds"), strict=True):
        for row in rows:
            if (row.search.seeds == "none") == (title == "from nothing"):
                label = row.search.sampler if title == "from nothing" else row.search.name.replace("seeds: ", "")
                curve = row.curve()[:300]
                axes.plot(range(1, len(curve) + 1), curve, label=label, linewidth=1.4)
        for end in ends:
            axes.axhline(end, color="black", linestyle="--", linewidth=0.8, label=f"swift after {max(BUDGETS)}")
        axes.set(title=title, xlabel="trials")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="x-small", loc="lower right")
    panels[0].set_ylabel("hypervolume of the front, tuning half")
    low = min(row.curve()[20] for row in rows)
    panels[0].set_ylim(low, max(ends + [row.curve()[-1] for row in rows]) + 0.01)
    n_runs = "–".join(map(str, sorted({min(len(row.runs) for row in rows), max(len(row.runs) for row in rows)})))
    figure.suptitle(
        f"{about['target']}, {about['dtype']}: median of {n_runs} runs, {about['recordings']} recordings of "
        f"{about['tokens']} tokens",
        fontsize="small",
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=120)


# ------------------------------------------------------------------------------------------------------------ command


def run_all(
    bench: Bench, names: tuple[str, ...], n_seeds: int, done: list[dict[str, Any]], keep: Callable[[], None]
) -> None:
    """Adds every missing run to `done`, a seed of all searches before the next seed."""
    finished = {(run["search"], run["seed"]) for run in done}
    for seed in range(n_seeds):
        for search in SEARCHES:
            if (search.name, seed) in finished or (names and search.sampler not in names):
                continue
            done.append(bench.run(search, seed))
            keep()
            print(f"{search.name}, seed {seed}: {done[-1]['hypervolume'][-1]:.4f}", file=sys.stderr, flush=True)


@click.command()
@click.option("--target", "name", default="reference", show_default=True, help="A model, or testbed:N.")
@click.option("--storage", envvar="CASSPEC_STORAGE", help="Database whose newest profile of the target predicts costs.")
@click.option("--recordings", default=8, show_default=True, help="Of each half of the suite.")
@click.option("--tokens", default=48, show_default=True, help="Of each recording.")
@click.option("--prompt-tokens", default=128, show_default=True, help="Prompts are cut to their last so many.")
@click.option("--seeds", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("--sampler", "names", multiple=True, type=click.Choice(SAMPLERS), help="Only these; all by default.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), default=Path("build/search.json"))
@click.option("--figure", type=click.Path(path_type=Path))
def main(
    name: str,
    storage: str | None,
    recordings: int,
    tokens: int,
    prompt_tokens: int,
    seeds: int,
    names: tuple[str, ...],
    json_file: Path,
    figure: Path | None,
) -> None:
    """Compare the searches and print their table."""
    torch.set_num_threads(1)
    stored = json.loads(json_file.read_text("utf-8")) if json_file.exists() else {}
    bench, about = prepare(name, storage, recordings, tokens, prompt_tokens)
    if stored and stored["about"] != about:
        raise click.ClickException(f"{json_file} holds another comparison; name another file with --json")
    runs: list[dict[str, Any]] = stored.get("runs", [])

    def keep() -> None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = json_file.with_suffix(".part")  # a kill while writing is to cost one run, not all
        unfinished.write_text(json.dumps({"about": about, "runs": runs}) + "\n", encoding="utf-8")
        unfinished.replace(json_file)

    run_all(bench, names, seeds, runs, keep)
    rows = rows_of(runs)
    print("\n".join(table(rows)))
    if figure:
        draw(rows, about, figure)
    summary = [
        {"sampler": row.search.sampler, "seeds": row.search.seeds, "runs": len(row.runs)}
        | {
            half: {str(budget): median(values) for budget in BUDGETS if (values := row.values(budget, rescored))}
            for half, rescored in (("tuning", False), ("reporting", True))
        }
        for row in rows
    ]
    print(json.dumps({"schema": 1, "about": about, "rows": summary}))


if __name__ == "__main__":
    main()
