"""Predicts how fast an engine is with a setting, from what its steps cost and what replay says is accepted."""

from __future__ import annotations

from dataclasses import dataclass

from casspec.storage.engines.documents import EngineMeasurement
from casspec.tuner.engines.tuning.latency import StepTime
from casspec.tuner.engines.tuning.predicting.acceptance import Replayed


@dataclass(frozen=True)
class PlainSpeed:
    """What an engine without speculation takes for the texts, so many at a time.

    Attributes:
        tokens, requests, seconds: of all. step_ms: of a step. other_s: of `seconds`, what is no step: prompts with their first token,
            waiting, the last requests.
    """

    concurrency: int
    tokens: int
    requests: int
    seconds: float
    step_ms: float

    @property
    def other_s(self) -> float:
        return max(0.0, self.seconds - self.steps * self.step_ms / 1e3)

    @property
    def steps(self) -> float:
        return (self.tokens - self.requests) / self.concurrency

    @classmethod
    def of(cls, figures: EngineMeasurement, step_ms: float) -> PlainSpeed:
        """From a measurement without speculation. step_ms: of a step that goes on with texts and reads no prompt."""
        return cls(figures.concurrency, figures.tokens, figures.requests, figures.seconds, step_ms)


def predicted_seconds(plain: PlainSpeed, replayed: Replayed, steps: StepTime | None) -> float:
    """For the same texts with a setting, each as often as it was written.

    Args:
        steps: None takes a step to cost what it costs without drafts.
    """
    count = max(replayed.verifications, 1)
    verifications = (plain.tokens - plain.requests) * count / max(count + replayed.accepted_tokens, 1)
    step_ms, other_s = plain.step_ms, plain.other_s
    if steps is not None:
        step_ms = steps.ms(plain.concurrency, replayed.draft_tokens / count, replayed.drafted / count)
        other_s += plain.requests * steps.extra_prompt_ms(plain.concurrency) / 1e3
    return other_s + verifications / plain.concurrency * step_ms / 1e3


def predicted_speed(plain: PlainSpeed, replayed: Replayed, steps: StepTime | None) -> float:
    """Tokens per second."""
    return plain.tokens / predicted_seconds(plain, replayed, steps)
