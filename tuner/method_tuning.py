"""Parameters of every method, tuned by replay on the tuning half: the same recordings, the same predicted latencies for all.

A method whose drafts need forwards (layer-sparse) is tuned from its measured depth profile in `tuner/cascade.py` instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from casspec.runtime.dsia import Plan
from casspec.runtime.policies.base import Policy
from casspec.runtime.policies.dytc import DyTC, ForwardMs
from casspec.runtime.policies.prompt_lookup import PromptLookupPolicy
from casspec.runtime.policies.token_recycling import TokenRecyclingPolicy
from casspec.storage.schema import AcceptancePrior, MethodSettings, Mode
from casspec.tuner.recordings import Recording, recycling_matrix
from casspec.tuner.replay import Replayed, replay

GRIDS: dict[str, dict[str, Sequence[Any]]] = {
    "prompt-lookup": {
        "most_recent": (False, True),
        "max_ngram": (3, 4, 6),
        "min_ngram": (1, 2),
        "n_tokens": (3, 5, 7, 10),
    },
    "token-recycling": {"coupled": (False, True), "max_depth": (3, 6), "n_nodes": (5, 7, 11, 15, 23)},
    "dytc": {"max_nodes": (16, 32), "min_mass": (0.03, 0.06), "branch": (3, 5)},
}
"""Settings tried for each method; about as many for a baseline as for dytc."""


@dataclass(frozen=True)
class TunedMethod:
    """The settings that replay fastest, and the walltime improvement predicted with them, by decoding mode."""

    settings: MethodSettings
    predicted_speedup: dict[Mode, float]


@dataclass(frozen=True)
class Tuning:
    """What all methods are tuned on."""

    recordings: Sequence[Recording]
    vocab_size: int
    target_plan: Plan
    forward_ms: ForwardMs
    priors: Mapping[Mode, AcceptancePrior]

    def verify_ms(self, n_tokens: int, context_tokens: int) -> float:
        return self.forward_ms(self.target_plan, n_tokens, context_tokens)


def tune_method(method: str, tuning: Tuning, progress: Callable[[], None] | None = None) -> TunedMethod:
    """Tries every setting of the method's grid; `progress` is called after each.

    The best setting has the largest geometric mean of the speedups over decoding modes.
    """
    best: tuple[float, dict[str, Any], dict[Mode, float]] | None = None
    for parameters in grid(method):
        speedups = {mode: result.speedup for mode, result in replayed(method, parameters, tuning).items()}
        score = 1.0
        for speedup in speedups.values():
            score *= speedup
        if best is None or score > best[0]:
            best = score, parameters, speedups
        if progress is not None:
            progress()
    assert best is not None
    return TunedMethod(MethodSettings(method=method, variant="tuned", parameters=best[1]), best[2])


def grid(method: str) -> Iterator[dict[str, Any]]:
    """Every setting of a method's grid."""
    axes = GRIDS[method]
    for values in product(*axes.values()):
        yield dict(zip(axes, values, strict=True))


def replayed(method: str, parameters: dict[str, Any], tuning: Tuning) -> dict[Mode, Replayed]:
    """Replays one setting over all recordings, by decoding mode.

    The recycling matrix used on a recording is made from the others' half, as in `tuner/priors.py`.
    """
    halves = tuning.recordings[::2], tuning.recordings[1::2]
    totals: dict[Mode, Replayed] = {}
    for judged, other in (halves, halves[::-1]):
        matrix = recycling_matrix(other, tuning.vocab_size)
        for mode in dict.fromkeys(recording.mode for recording in judged):
            policy = _build(method, parameters, matrix, tuning, mode)
            chosen = [recording for recording in judged if recording.mode == mode]
            result = replay(policy, chosen, tuning.vocab_size, tuning.verify_ms)
            totals.setdefault(mode, Replayed()).add(result)
    return totals


def _build(method: str, parameters: dict[str, Any], matrix: Any, tuning: Tuning, mode: Mode) -> Policy:
    if method == "prompt-lookup":
        return PromptLookupPolicy(**parameters)
    if method == "token-recycling":
        return TokenRecyclingPolicy(matrix, **parameters)
    return DyTC(tuning.target_plan, tuning.forward_ms, matrix=matrix, prior=tuning.priors.get(mode), **parameters)
