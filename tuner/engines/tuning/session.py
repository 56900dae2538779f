"""One search under way: what all of its stages share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from casspec.storage.engines.documents import EngineMeasurement, EngineSetting, EngineSubject, EngineText, EngineTrial
from casspec.storage.engines.store import EngineStore
from casspec.storage.errors import EngineError
from casspec.tuner.engines.asked import completion
from casspec.tuner.engines.endpoint import Asked
from casspec.tuner.engines.figures import measured
from casspec.tuner.engines.process import DoesNotStart, EngineFailed, NotReady
from casspec.tuner.engines.protocol import Abilities, Engine
from casspec.tuner.engines.tuning.budget import Budget
from casspec.tuner.engines.tuning.starting import Instance, Starter
from casspec.tuner.engines.tuning.workload import TokenRequest, Workload, copies

PLAIN_KIND, CONFIRM_KIND, STEP_KIND, TEXT_KIND, PROMPT_KIND = "plain", "confirm", "step", "text", "prompt"
PLAIN_STEP_KIND = "plain-step"
"""Kinds of measurements in the store."""

ATTEMPTS = 3
"""Starts of an engine that ends while it is asked."""

Say = Callable[[str], None]


class OutOfTime(EngineError):
    """A budget that ends before there is an outcome; what was measured is stored."""

    def __init__(self) -> None:
        super().__init__(
            "the budget ends before any setting is confirmed; what was measured is stored: run the same command again to go on, "
            "with a larger --budget where it ends here again"
        )


@dataclass
class Session:
    """What stages measure with, and where they keep it.

    Attributes:
        subject_hash: names the search in the store. say: told in a line what happens.
    """

    engine: Engine
    abilities: Abilities
    starter: Starter
    store: EngineStore
    subject: EngineSubject
    workload: Workload
    budget: Budget
    folder: Path
    say: Say = print
    subject_hash: str = ""
    _fresh: int = field(default=0, repr=False)

    @contextmanager
    def engine_with(self, setting: EngineSetting, why: str, probe_file: Path | None = None) -> Iterator[Instance]:
        """The engine, started and warm. Raises EngineFailed where it does not start, OutOfTime where no time is left."""
        self.check_time()
        self.say(f"starting {self.engine.name}: {why}")
        with ExitStack() as stack:
            try:
                instance = stack.enter_context(self.starter.started(setting, probe_file, self.budget.most_s))
            except NotReady:
                self.check_time()
                raise
            self.budget.started(instance.seconds)
            self.say(f"ready after {instance.seconds:.0f} s")
            most = max(self.subject.concurrency)
            self.drive(instance, "warm", self.workload.warming(most), most, tokens=8)
            yield instance

    def probe(self, draft_tokens: int) -> EngineSetting | None:
        """The probe that drafts up to these; None where the engine takes none."""
        setting = self.engine.probe_setting(draft_tokens)
        return setting if setting is not None and setting.method in self.abilities.methods else None

    def check_time(self, needed_s: float = 0.0) -> None:
        """Raises OutOfTime where what takes so long would end after the budget."""
        if self.budget.left_s <= needed_s:
            raise OutOfTime

    def drive(
        self,
        instance: Instance,
        fresh: str,
        requests: Sequence[TokenRequest],
        concurrency: int,
        tokens: int | None = None,
        setting: EngineSetting | None = None,
    ) -> tuple[EngineMeasurement, list[EngineText]]:
        """Asks all, so many at a time: figures, and what was written, as the engine's token ids or else those of its text.

        Args:
            fresh: requests of another one share no prefix cache with these, nor does a prompt that comes again with itself.

        Raises EngineFailed where the engine has ended, EngineError where a request fails otherwise, OutOfTime where the budget ends.
        """
        self.check_time()
        self._fresh += 1
        n_tokens = tokens or self.workload.tokens
        asked: list[Asked] = [
            completion(instance.model, each.ids, n_tokens, self.engine.request_fields(f"{fresh} {self._fresh} {copy}"))
            for each, copy in zip(requests, copies(requests), strict=True)
        ]
        instance.forget()
        before = instance.counters()
        try:
            done = instance.endpoint.drive(asked, concurrency, most_s=self.budget.most_s)
        except TimeoutError:
            raise OutOfTime from None
        instance.check_answers(done.answers)
        counted = instance.counters().since(before)
        texts = [
            EngineText(
                prompt_id=each.id, task=each.task, prompt=each.ids, answer=answer.ids or self.workload.ids(answer.text)
            )
            for each, answer in zip(requests, done.answers, strict=True)
        ]
        figures = measured(setting or EngineSetting(method="off"), concurrency, done, counted)
        return figures, texts

    def persistently(self, work: Callable[[], None]) -> None:
        """Does work that goes on where it was, again where the engine ended meanwhile.

        Raises DoesNotStart at once, EngineFailed where it ends every time.
        """
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return work()
            except DoesNotStart:
                raise
            except EngineFailed as error:
                if attempt == ATTEMPTS:
                    raise
                self.say(f"{error}; once more")

    def failed(self, setting: EngineSetting, reason: str) -> None:
        """Keeps that a setting does not work, and why."""
        self.say(f"{setting.name} failed: {reason}")
        trials = [
            EngineTrial(setting=setting, concurrency=each, status="failed", reason=reason)
            for each in self.subject.concurrency
        ]
        self.store.save_trials(self.subject_hash, trials)

    def has_failed(self, setting: EngineSetting) -> bool:
        """Whether it was found not to work."""
        wanted = setting.content_hash()
        return any(
            trial.status == "failed" and trial.setting.content_hash() == wanted
            for trial in self.store.trials(self.subject_hash)
        )
