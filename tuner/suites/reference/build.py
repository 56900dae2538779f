"""Makes the list of the suite `reference` for the running interpreter: finds cuts, drops those that loop, deals halves.

A prompt is kept when the reference model's greedy continuation of it does not loop (see `tuner/suites/repetition.py`). That is
decided once, by the library's own forward in float32, before any drafter or method has seen a prompt.
"""

from __future__ import annotations

import platform
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import PurePosixPath

from casspec.profiler.progress import Tell, untold
from casspec.storage.errors import SuiteError
from casspec.tuner.suites.prompts import Half
from casspec.tuner.suites.reference.loop_filter import GreedyFilter
from casspec.tuner.suites.reference.source_spans import Cut, find_cuts
from casspec.tuner.suites.reference.suite_list import (
    DATA_PACKAGE,
    TASKS,
    SuiteEntry,
    SuiteList,
    TaskCount,
    find_entry,
    module_text,
    prompt_text,
    standard_library,
    text_sha256,
)
from casspec.tuner.suites.repetition import MAX_REPETITION

PROMPT_TOKENS = range(200, 761)
CONTINUATION_TOKENS = 128
BATCH = 32
POOL = 4 * BATCH


@dataclass(frozen=True, slots=True)
class ListBudget:
    """How many prompts a task shall have and how many candidates may be generated from to find them."""

    prompts_per_task: int
    candidates_per_task: int
    seed: int = 0


COMMITTED_LIST = ListBudget(prompts_per_task=12, candidates_per_task=512)
"""For the list that ships with casspec: about half an hour on one core."""
OWN_LIST = ListBudget(prompts_per_task=8, candidates_per_task=64)
"""For a user's interpreter on first use: most of the text is known from the committed list, the rest takes a minute."""


def make_list(budget: ListBudget, known: SuiteList | None = None, on_progress: Tell = untold) -> SuiteList:
    """The list of cuts for this interpreter; `on_progress` gets one line of text after each batch.

    Entries of `known` whose text stands in this interpreter's library are taken over: equal text was judged already.
    Raises SuiteError when no held-out module can be read (an interpreter without library sources).
    """
    judge = GreedyFilter(CONTINUATION_TOKENS, MAX_REPETITION)
    entries: list[SuiteEntry] = []
    counts: dict[str, TaskCount] = {}
    for task in TASKS:
        placed = _evened(list(_relocated(task, known.entries if known else ())))
        counted = _fill_task(task, budget, judge, placed, entries, on_progress)
        counts[task] = _with_earlier(counted, known.counts.get(task) if known else None)
        entries += _evened(placed)
    if not entries:
        raise SuiteError(
            f"no reference prompts can be cut from {standard_library()}: expected the sources of the standard library; "
            "name a JSONL file or a source directory as the suite"
        )
    return SuiteList(
        python=platform.python_version(),
        model="reference-v1",
        seed=budget.seed,
        continuation_tokens=CONTINUATION_TOKENS,
        max_repetition=MAX_REPETITION,
        counts=counts,
        entries=tuple(entries),
    )


# --------------------------------------------------------------------------------------------------------------- tasks


def _fill_task(
    task: str,
    budget: ListBudget,
    judge: GreedyFilter,
    placed: list[SuiteEntry],
    others: list[SuiteEntry],
    on_progress: Tell,
) -> TaskCount:
    """Adds to `placed`, judging candidates in seeded order until both halves are full or the budget is spent."""
    known, passed, judged = len(placed), 0, 0
    on_progress(f"{task}: {known} prompts known")
    for batch in _batches(task, budget, judge):
        if len(placed) >= budget.prompts_per_task:
            break
        batch = [pair for pair in batch if _free_half(pair[0], placed, others, budget.prompts_per_task)]
        if not batch:
            continue
        verdicts = judge.judge([ids for _, ids in batch])
        judged += len(batch)
        for (cut, _), share in zip(batch, verdicts, strict=True):
            if share is None:
                continue
            passed += 1
            if half := _free_half(cut, placed, others, budget.prompts_per_task):
                placed.append(_entry(task, cut, half, share))
        on_progress(f"{task}: {judged} candidates, {passed} passed, {len(placed)} of {budget.prompts_per_task} placed")
    return TaskCount(candidates=judged, passed=passed, chosen=len(_evened(placed)), known=known)


def _with_earlier(count: TaskCount, earlier: TaskCount | None) -> TaskCount:
    """Candidates and passes of this run and of those the known list came from."""
    if earlier is None:
        return count
    totals = {"candidates": count.candidates + earlier.candidates, "passed": count.passed + earlier.passed}
    return count.model_copy(update=totals)


def _relocated(task: str, known: Iterable[SuiteEntry]) -> Iterator[SuiteEntry]:
    for entry in known:
        for module in alternatives(entry.module) if entry.task == task else ():
            source = module_text(module)
            if source is not None and (offset := find_entry(entry, source)) is not None:
                yield entry.model_copy(update={"module": module, "offset": offset})
                break


def _batches(task: str, budget: ListBudget, judge: GreedyFilter) -> Iterator[list[tuple[Cut, list[int]]]]:
    """Candidates of fitting length with their token ids; batches of similar lengths waste little padding."""
    cuts = [cut for module in _modules(task) for cut in find_cuts(task, module, module_text(module) or "", budget.seed)]
    random.Random(f"{budget.seed}:{task}").shuffle(cuts)
    fitting = ((cut, judge.token_ids(prompt_text(_cut_text(cut), cut.rename))) for cut in cuts)
    candidates = [pair for pair in fitting if len(pair[1]) in PROMPT_TOKENS][: budget.candidates_per_task]
    for start in range(0, len(candidates), POOL):
        pool = sorted(candidates[start : start + POOL], key=lambda pair: len(pair[1]))
        for place in range(0, len(pool), BATCH):
            yield pool[place : place + BATCH]


def _cut_text(cut: Cut) -> str:
    return (module_text(cut.module) or "")[cut.offset : cut.offset + cut.length]


def _free_half(cut: Cut, placed: list[SuiteEntry], others: list[SuiteEntry], prompts_per_task: int) -> Half | None:
    """The emptier half that can take the cut, which shares text neither with the other half nor within its task."""
    halves: tuple[Half, ...] = ("tuning", "reporting")
    sizes = {half: sum(entry.half == half for entry in placed) for half in halves}
    for half in sorted(sizes, key=lambda name: sizes[name]):
        if sizes[half] >= prompts_per_task // 2:
            continue
        forbidden = [*placed, *(entry for entry in others if entry.half != half)]
        if not any(_overlap(cut, entry) for entry in forbidden):
            return half
    return None


def _overlap(cut: Cut, entry: SuiteEntry) -> bool:
    begins_before_end = cut.offset < entry.offset + entry.length and entry.offset < cut.offset + cut.length
    return cut.module == entry.module and begins_before_end


def _entry(task: str, cut: Cut, half: Half, share: float) -> SuiteEntry:
    return SuiteEntry.model_validate(
        {
            "task": task,
            **cut._asdict(),
            "sha256": text_sha256(_cut_text(cut)),
            "half": half,
            "repetition": round(share, 4),
        }
    )


def _evened(placed: list[SuiteEntry]) -> list[SuiteEntry]:
    """Equal halves: what one half has too much is dropped from its end."""
    tuning = [entry for entry in placed if entry.half == "tuning"]
    reporting = [entry for entry in placed if entry.half == "reporting"]
    size = min(len(tuning), len(reporting))
    return [*tuning[:size], *reporting[:size]]


# ------------------------------------------------------------------------------------------------------------- modules


def heldout_modules() -> tuple[str, ...]:
    """Modules the reference model was never trained on, as far as this interpreter has them."""
    listed = (files(DATA_PACKAGE) / "heldout_modules.txt").read_text(encoding="utf-8").split()
    present = ([name for name in alternatives(module) if module_text(name) is not None] for module in listed)
    return tuple(names[0] for names in present if names)


def alternatives(module: str) -> tuple[str, str]:
    """Where a module's text can stand: its own file, or the `__init__` of the package it has become."""
    return module, f"{module.removesuffix('.py')}/__init__.py"


def test_modules(heldout: tuple[str, ...]) -> tuple[str, ...]:
    """The library's own tests of the held-out modules; none where a distribution leaves them out."""
    found: dict[str, None] = {}
    for module in heldout:
        *packages, stem = PurePosixPath(module).with_suffix("").parts
        if stem == "__init__":
            stem = packages.pop()
        name = stem.lstrip("_")
        guesses = [f"test/test_{package}/test_{name}.py" for package in packages]
        guesses += [f"test/test_{package}.py" for package in packages]
        guesses += [f"test/test_{'_'.join([*packages, name])}.py"]
        found |= {guess: None for guess in guesses if (standard_library() / guess).is_file()}
    return tuple(found)


def _modules(task: str) -> tuple[str, ...]:
    heldout = heldout_modules()
    return test_modules(heldout) if task == "tests" else heldout
