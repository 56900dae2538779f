"""Documents of engines that serve a model in place of ours: what was asked of one, what it measured, and what came of it.

Times are milliseconds, speeds tokens per second of all clients together. None of this needs the database or an engine.
"""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import Field

from casspec.storage.document import Document, VersionedDocument
from casspec.storage.schema import DeviceFingerprint, ModelFingerprint

OFF = "off"
"""Method of an engine that does not speculate."""


class EngineSetting(Document):
    """One way to speculate, in the engine's own words. `parameters` are JSON values; none where the method is `off`."""

    method: str
    parameters: dict[str, Any] = Field(default_factory=dict)

    @property
    def is_off(self) -> bool:
        return self.method == OFF

    @property
    def name(self) -> str:
        """For tables: method, then parameters."""
        told = (f"{name}={json.dumps(value)}" for name, value in sorted(self.parameters.items()))
        return " ".join((self.method, *told))


PLAIN = EngineSetting(method=OFF)


class EngineSubject(VersionedDocument):
    """What a search is of: everything that decides its figures. Two searches of one subject are the same search."""

    model: ModelFingerprint
    device: DeviceFingerprint
    engine: str
    engine_version: str
    dtype: str
    """As the engine spells it; auto is the checkpoint's own."""
    suite: str = Field(description="name, not hashed")
    suite_sha256: str
    prompts: int
    """Of the tuning half."""
    tokens: int
    """Most new ones of a request."""
    concurrency: tuple[int, ...]
    """Requests at a time, ascending."""
    tried: tuple[EngineSetting, ...] = ()
    """Named by the user, beside those that are searched; not hashed, for one more setting changes no figure of the others."""
    words: tuple[str, ...] = ()
    """Added to the engine's command line."""
    seed: int = 0

    not_hashed = VersionedDocument.not_hashed | {"suite", "tried"}


class EngineText(Document):
    """What the engine itself wrote, greedily: token ids."""

    prompt_id: str
    task: str
    prompt: tuple[int, ...]
    answer: tuple[int, ...]


class EngineMeasurement(VersionedDocument):
    """Requests that were asked of an engine together, `concurrency` at a time."""

    setting: EngineSetting
    concurrency: int
    tokens: int
    """New ones of all whole answers."""
    seconds: float
    """From the first request to the last answer."""
    requests: int
    failed: int = 0
    first_token_ms: tuple[float, float] | None = None
    """Of 50 and of 99 in 100 requests: at most this."""
    token_ms: tuple[float, float] | None = None
    """The same of the time between tokens, where several requests told."""
    drafts: int | None = None
    """By the engine's own counters meanwhile; None where it has none. A draft is a verification of one request."""
    draft_tokens: int | None = None
    accepted_tokens: int | None = None
    accepted_by_position: tuple[int, ...] = ()

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds

    @property
    def acceptance_length(self) -> float | None:
        """Tokens a verification, bonus included; None where nothing was drafted."""
        if not self.drafts or self.accepted_tokens is None:
            return None
        return 1.0 + self.accepted_tokens / self.drafts


class EngineLatencyPoint(Document):
    """A step of the engine: `batch` requests, each with `draft_tokens` drafted tokens."""

    batch: int
    draft_tokens: int
    values_ms: tuple[float, ...]
    """One for each time it was measured."""


class EngineLatency(Document):
    """How long a step takes in an engine that speculates, whatever it drafts."""

    points: tuple[EngineLatencyPoint, ...]
    median_error: float
    """Relative, of points that were predicted from their neighbours."""
    largest_error: float
    extra_prompt_ms: dict[str, float] = Field(default_factory=dict)
    """By requests at a time: what a prompt takes longer than in an engine without speculation."""


class EngineTrial(VersionedDocument):
    """A setting at one number of requests at a time: what was predicted, and why it failed where it did."""

    setting: EngineSetting
    concurrency: int
    status: Literal["predicted", "failed"]
    predicted_tokens_per_second: float | None = None
    acceptance_length: float | None = None
    """By replay on what the engine wrote."""
    reason: str | None = None
    """In one line; of an engine that did not start its last line."""


class EngineChoice(Document):
    """What is best at one number of requests at a time.

    `gain`, `low` and `high` compare with no speculation at all, measured in turn: the middle, and a 90 % interval.
    """

    concurrency: int
    setting: EngineSetting
    gain: float
    low: float
    high: float
    pairs: int
    """Comparisons that the interval comes from."""
    tokens_per_second: float
    plain_tokens_per_second: float
    predicted_gain: float | None = None
    acceptance_length: float | None = None


class EngineResult(VersionedDocument):
    """The outcome of a search: one configuration, measured."""

    subject: EngineSubject
    choices: tuple[EngineChoice, ...]
    configuration: dict[str, Any] | None
    """For the engine, in its own words; None is no speculation."""
    configured: tuple[EngineChoice, ...] = ()
    """What this one configuration gains at each number of requests, measured; () where it is none."""
    refuses: tuple[str, ...] = ()
    """What the engine refuses with this configuration, or needs for it, a line each."""
    latency: EngineLatency | None = None
    notes: tuple[str, ...] = ()

    def is_of(self, model: ModelFingerprint) -> bool:
        """Whether it was measured with these weights, config and tokenizer, whatever the model is called."""
        names = ("config_sha256", "weights_sha256", "tokenizer_sha256")
        return all(getattr(self.subject.model, name) == getattr(model, name) for name in names)

    @property
    def result_id(self) -> str:
        """Short name, as profiles have one."""
        return self.content_hash()[:12]
