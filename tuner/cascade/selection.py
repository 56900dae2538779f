"""Which self-drafters join the cascade and what dytc is set to with them: what replays fastest.

Not the most accepted drafter nor the cheapest wins, but the one the whole cascade is fastest with: contenders are replayed inside dytc
on the recordings of the tuning half, one is added at a time, and each must earn its place (greedy forward selection). Then dytc's own
parameters are tuned by the same replay. Where neither pays, the answer is retrieval alone or nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from casspec.profiler.progress import Tell, untold
from casspec.runtime.policies import settable
from casspec.runtime.policies.dytc import DyTC
from casspec.storage.schema import Decision
from casspec.tuner.cascade.descent import descend
from casspec.tuner.cascade.replay import CascadeReplay, Parameters
from casspec.tuner.methods.by_replay import first_of_each_mode
from casspec.tuner.recordings.recording import Recording

LEAST_DRAFTER_GAIN = 1.02
"""Times faster a further drafter must make the replay: less is within what replay and latencies are known to."""

SCREENED_RECORDINGS = 5
"""Of each decoding mode: what a drafter or a change of a parameter is tried on before it is tried on all."""

REVIEWED_NODES = 32
"""Tree size contenders are compared at: reviewed trees are larger than retrieved ones."""

RETRIEVAL_AXES: dict[str, Sequence[Any]] = {
    "max_nodes": (8, 12, 16, 24, 32, 48, 64),
    "min_mass": (0.015, 0.03, 0.05, 0.08),
    "branch": (2, 3, 4, 6),
    "max_ngram": (3, 4, 6),
    "rate_decay": (0.9, 0.98, 0.995),
}

REVIEW_AXES: dict[str, Sequence[Any]] = {
    "max_nodes": (16, 24, 32, 48, 64),
    "max_review": (4, 8, 16, 24),
    "min_mass": RETRIEVAL_AXES["min_mass"],
    "optimism": (0.0, 0.5, 1.0, 2.0),
    "branch": RETRIEVAL_AXES["branch"],
    "rate_decay": RETRIEVAL_AXES["rate_decay"],
    "max_ngram": RETRIEVAL_AXES["max_ngram"],
}
"""Values of dytc's parameters tried with self-drafters, the parameters that make most of a difference first."""


@dataclass(frozen=True)
class Limits:
    """What a cascade may take."""

    most_drafters: int = 2
    most_extra_bytes: int | None = None
    """Of packed weights beside the target's own; None is no limit."""
    seconds: float = 5.0
    """For tuning dytc's parameters."""


@dataclass(frozen=True)
class Choice:
    """Self-drafters and what dytc is set to with them; no drafters are retrieval alone."""

    drafters: tuple[str, ...]
    parameters: Parameters


def forward_selection(
    names: Sequence[str],
    screen: Callable[[Sequence[str]], float],
    score: Callable[[Sequence[str]], float],
    most: int,
    fits: Callable[[Sequence[str]], bool] = lambda chosen: True,
) -> tuple[str, ...]:
    """Adds the name with which `screen` is highest for as long as that raises the score by LEAST_DRAFTER_GAIN.

    Args:
        screen: a cheap score on part of the material. score: on all of it.
        most: names at most.
        fits: whether these names together may be chosen.
    """
    chosen: list[str] = []
    best: float | None = None
    while len(chosen) < most:
        wider = [[*chosen, name] for name in names if name not in chosen]
        wider = [tried for tried in wider if fits(tried)]
        if not wider:
            break
        best = score(chosen) if best is None else best
        tried = max(wider, key=screen) if len(wider) > 1 else wider[0]
        reached = score(tried)
        if reached < best * LEAST_DRAFTER_GAIN:
            break
        chosen, best = tried, reached
    return tuple(chosen)


def choose(
    replays: CascadeReplay,
    parameters: Parameters,
    limits: Limits,
    recordings: Sequence[Recording] | None = None,
    beside: Sequence[str] = (),
    tell: Tell = untold,
) -> Choice:
    """The drafters and parameters that replay fastest on some recordings, by default all.

    Args:
        parameters: of dytc, tuned for retrieval alone.
        beside: plans whose weights are held whatever is chosen.
    """
    judged = list(replays.recordings if recordings is None else recordings)
    few = first_of_each_mode(judged, SCREENED_RECORDINGS)
    reviewing = {**parameters, "max_nodes": REVIEWED_NODES}

    def score(names: Sequence[str], on: Sequence[Recording] = judged) -> float:
        tell("replaying " + (" + ".join(names) or "retrieval alone"))
        return replays.score(names, reviewing if names else parameters, on)

    def fits(names: Sequence[str]) -> bool:
        limit = limits.most_extra_bytes
        return limit is None or replays.extra_bytes([*names, *beside]) <= limit

    screen = partial(score, on=few)
    names = forward_selection(list(replays.contenders), screen, score, limits.most_drafters, fits)
    tell("tuning dytc with " + (" + ".join(names) or "retrieval alone"))
    return Choice(names, tuned(replays, names, reviewing if names else parameters, limits.seconds, judged))


def tuned(
    replays: CascadeReplay, names: Sequence[str], parameters: Parameters, seconds: float, judged: Sequence[Recording]
) -> Parameters:
    """`parameters` with the changes that make dytc with these drafters replay faster on `judged`."""
    axes, published = REVIEW_AXES if names else RETRIEVAL_AXES, settable(DyTC)
    few = first_of_each_mode(judged, SCREENED_RECORDINGS)
    found = descend(
        {axis: published[axis] for axis in axes} | dict(parameters),
        axes,
        lambda tried: replays.score(names, tried, few),
        lambda tried: replays.score(names, tried, judged),
        seconds,
    )
    return {name: value for name, value in found.items() if name in parameters or value != published[name]}


def decide(cascade: float | None, retrieval: float) -> Decision:
    """What to decode with, from the predicted speedups of dytc with its self-drafters (None without any) and with retrieval alone."""
    if max(cascade or 0.0, retrieval) < LEAST_DRAFTER_GAIN:
        return "off"
    return "cascade" if cascade is not None and cascade >= retrieval * LEAST_DRAFTER_GAIN else "retrieval-only"
