"""Searches n-gram settings by prediction, for each number of requests at a time: thousands of settings cost no restart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from casspec.storage.engines.documents import EngineMeasurement, EngineText, EngineTrial
from casspec.tuner.engines.protocol import NgramSpace
from casspec.tuner.engines.tuning.latency import StepTime
from casspec.tuner.engines.tuning.predicting.acceptance import LookupReplay, Replayed
from casspec.tuner.engines.tuning.predicting.prediction import PlainSpeed, predicted_speed
from casspec.tuner.engines.tuning.session import Session
from casspec.tuner.engines.tuning.written import plain_steps

TRIALS = 120
"""Of each number of requests at a time."""

COMPLETED = 6
"""Pairs of n-gram lengths of each, the best, that are then predicted with every draft length."""

Point = tuple[int, int, int]
"""Shortest and longest n-gram, most tokens of a draft."""

WELL_KNOWN = ((2, 5, 4), (1, 3, 3), (5, 5, 5), (3, 5, 5), (2, 4, 2), (2, 4, 1), (1, 1, 1))
"""Shortest and longest n-gram and draft length of settings that are tried first: examples of vLLM's manual, and small ones."""


def searched(
    session: Session, texts: Sequence[EngineText], plain: Mapping[int, EngineMeasurement], steps: StepTime | None
) -> list[EngineTrial]:
    """Trials of all numbers of requests at a time, stored. What was stored before is not searched again.

    Where nobody knows what the engine's lookup would draft, none are predicted.
    """
    stored = session.store.trials(session.subject_hash)
    space = session.engine.ngram
    if space is None:
        return stored
    if {trial.concurrency for trial in stored if trial.status == "predicted"} != set(session.subject.concurrency):
        step_ms = plain_steps(session, plain)
        speeds = [PlainSpeed.of(plain[each], step_ms[each]) for each in session.subject.concurrency]
        search = _Search(session, space, speeds, steps, texts)
        session.store.save_trials(session.subject_hash, search.run())
    return session.store.trials(session.subject_hash)


class _Search:
    """One over all numbers of requests at a time; what replay says of a setting holds for each of them."""

    def __init__(
        self,
        session: Session,
        space: NgramSpace,
        speeds: Sequence[PlainSpeed],
        steps: StepTime | None,
        texts: Sequence[EngineText],
    ) -> None:
        self._engine, self._seed = session.engine, session.subject.seed
        self._speeds, self._steps, self._space = speeds, steps, space
        most_new = session.workload.tokens if space.takes_last else None
        self._replay = LookupReplay(texts, space.longest[1], space.draft_tokens[1], space.takes_last, most_new)
        self._known: dict[Point, Replayed] = {}
        self._found: dict[tuple[int, Point], EngineTrial] = {}

    def run(self) -> list[EngineTrial]:
        """Searches by Optuna, then completes the best n-grams: all draft lengths at every number of requests."""
        grams = {best for speed in self._speeds for best in self._searched(speed)}
        for shortest, longest in sorted(grams):
            for drafted in range(self._space.draft_tokens[0], self._space.draft_tokens[1] + 1):
                for speed in self._speeds:
                    self._evaluate(speed, (shortest, longest, drafted))
        return list(self._found.values())

    def _searched(self, plain: PlainSpeed) -> list[tuple[int, int]]:
        """The best pairs of n-gram lengths at one number of requests."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        space = self._space

        def evaluate(trial: optuna.Trial) -> float:
            longest = trial.suggest_int("longest", *space.longest)
            shortest = longest if space.takes_last else min(trial.suggest_int("shortest", *space.shortest), longest)
            return self._evaluate(plain, (shortest, longest, trial.suggest_int("draft_tokens", *space.draft_tokens)))

        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=self._seed))
        for shortest, longest, drafted in WELL_KNOWN:
            named = {"longest": _within(longest, space.longest), "draft_tokens": _within(drafted, space.draft_tokens)}
            study.enqueue_trial(named if space.takes_last else named | {"shortest": _within(shortest, space.shortest)})
        study.optimize(evaluate, n_trials=TRIALS)
        ranked = sorted(study.trials, key=lambda trial: trial.value or 0.0, reverse=True)
        pairs = [
            (min(one.params.get("shortest", one.params["longest"]), one.params["longest"]), one.params["longest"])
            for one in ranked
        ]
        return list(dict.fromkeys(pairs))[:COMPLETED]

    def _evaluate(self, plain: PlainSpeed, point: Point) -> float:
        """Tokens per second."""
        if point not in self._known:
            self._known[point] = self._replay.replay(*point)
        speed = predicted_speed(plain, self._known[point], self._steps)
        self._found[plain.concurrency, point] = EngineTrial(
            setting=self._engine.ngram_setting(*point),
            concurrency=plain.concurrency,
            status="predicted",
            predicted_tokens_per_second=speed,
            acceptance_length=self._known[point].acceptance_length,
        )
        return speed


def _within(value: int, bounds: tuple[int, int]) -> int:
    return min(max(value, bounds[0]), bounds[1])
