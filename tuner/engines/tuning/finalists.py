"""Chooses what is confirmed by restarts: few settings, each a whole configuration for all numbers of requests at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from casspec.storage.engines.documents import EngineMeasurement, EngineSetting, EngineTrial
from casspec.tuner.engines.protocol import Abilities, Engine

MOST_PREDICTED = 3
"""Settings that prediction puts forward."""


@dataclass(frozen=True)
class Finalist:
    """A setting to be measured. `predicted_gain`: by requests at a time; {} of one that is not predicted."""

    setting: EngineSetting
    predicted_gain: Mapping[int, float]

    @property
    def mean_gain(self) -> float:
        """Geometric; 0 where nothing is predicted."""
        if not self.predicted_gain:
            return 0.0
        return math.exp(sum(map(math.log, self.predicted_gain.values())) / len(self.predicted_gain))


def finalists(
    engine: Engine,
    abilities: Abilities,
    trials: Sequence[EngineTrial],
    plain: Mapping[int, EngineMeasurement],
    tried: Sequence[EngineSetting],
    is_timed: bool = True,
) -> list[Finalist]:
    """The best of the predicted, no two of the same n-grams, then what the user named and what the engine offers besides.

    Where the draft length may follow the number of requests, each has the best one for each number, 0 where none pays.
    Where steps were not timed by draft length (`is_timed`), prediction only ranks n-grams and cannot tell which length pays: of short,
    middle and long drafts the best each, of other n-grams where there are some, as long as anything is accepted, and nothing is
    promised of it.
    """
    failed = {trial.setting.content_hash() for trial in trials if trial.status == "failed"}
    predicted = [trial for trial in trials if trial.status == "predicted" and (is_timed or _accepts(trial))]
    found = _by_batch(engine, predicted, plain) if abilities.draft_by_batch else _fixed(predicted, plain)
    found = [each for each in found if each.mean_gain > 1.0 or not is_timed]
    found.sort(key=lambda each: each.mean_gain, reverse=True)
    chosen = _unlike(engine, found) if is_timed else _spread(engine, found, max(plain))
    others = [Finalist(setting, {}) for setting in (*tried, *engine.defaults(abilities))]
    everything = [*chosen[:MOST_PREDICTED], *others]
    return [each for each in everything if each.setting.content_hash() not in failed]


def _unlike(engine: Engine, ranked: Sequence[Finalist]) -> list[Finalist]:
    """Of settings that do the same the first."""
    chosen: list[Finalist] = []
    seen: set[object] = set()
    for each in ranked:
        grams = engine.ngram_lengths(each.setting)
        gains = tuple(round(gain, 3) for gain in each.predicted_gain.values())
        if grams not in seen and gains not in seen:
            seen |= {grams, gains}
            chosen.append(each)
    return chosen


def _spread(engine: Engine, ranked: Sequence[Finalist], concurrency: int) -> list[Finalist]:
    """Of each third of the draft lengths the first with other n-grams than those before, without what is predicted of them.

    Where the estimate takes drafts to be dear, the same long n-gram that hardly ever occurs would be the first of every third.
    """
    lengths = sorted({engine.drafts_at(each.setting, concurrency) for each in ranked})
    size = math.ceil(len(lengths) / MOST_PREDICTED)
    thirds = [set(lengths[first : first + size]) for first in range(0, len(lengths), size or 1)]
    third_of = {length: number for number, third in enumerate(thirds) for length in third}
    chosen: dict[int, Finalist] = {}
    for has_other_grams in (True, False):
        for each in ranked:
            number = third_of[engine.drafts_at(each.setting, concurrency)]
            seen = {engine.ngram_lengths(other.setting) for other in chosen.values()}
            if number not in chosen and not (has_other_grams and engine.ngram_lengths(each.setting) in seen):
                chosen[number] = each
    return [Finalist(each.setting, {}) for each in sorted(chosen.values(), key=ranked.index)]


def _fixed(trials: Sequence[EngineTrial], plain: Mapping[int, EngineMeasurement]) -> list[Finalist]:
    """Settings that were predicted at every number of requests."""
    gains: dict[str, dict[int, float]] = {}
    settings = {}
    for trial in trials:
        settings[trial.setting.content_hash()] = trial.setting
        gains.setdefault(trial.setting.content_hash(), {})[trial.concurrency] = _gain(trial, plain)
    return [Finalist(settings[key], found) for key, found in gains.items() if found.keys() == plain.keys()]


def _by_batch(engine: Engine, trials: Sequence[EngineTrial], plain: Mapping[int, EngineMeasurement]) -> list[Finalist]:
    """For each pair of n-gram lengths the best draft length at every number of requests."""
    by_grams: dict[object, list[EngineTrial]] = {}
    for trial in trials:
        by_grams.setdefault(engine.ngram_lengths(trial.setting), []).append(trial)
    found = []
    for those in by_grams.values():
        best = {}
        for concurrency in plain:
            here = [trial for trial in those if trial.concurrency == concurrency]
            if here:
                best[concurrency] = max(here, key=lambda trial: trial.predicted_tokens_per_second or 0.0)
        if best.keys() != plain.keys():
            continue
        gains = {each: max(_gain(trial, plain), 1.0) for each, trial in best.items()}
        lengths = {
            each: engine.drafts_at(trial.setting, each) if _gain(trial, plain) > 1.0 else 0
            for each, trial in best.items()
        }
        if any(lengths.values()):
            found.append(Finalist(engine.by_batch(next(iter(best.values())).setting, lengths), gains))
    return found


def _gain(trial: EngineTrial, plain: Mapping[int, EngineMeasurement]) -> float:
    return (trial.predicted_tokens_per_second or 0.0) / plain[trial.concurrency].tokens_per_second


def _accepts(trial: EngineTrial) -> bool:
    return (trial.acceptance_length or 1.0) > 1.0
