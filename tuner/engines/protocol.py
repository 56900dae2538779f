"""What is to be known of an engine before it can be measured: how it starts, what it counts, how it is told to speculate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from casspec.storage.engines.documents import EngineSetting

SERVED_NAME = "model"
"""By which requests name the model of an engine that is started here."""


@dataclass(frozen=True)
class Abilities:
    """What the installed engine is and can do.

    Attributes:
        draft_by_batch: whether the draft length may follow the number of requests at a time.
        methods: of speculation, those that can be used as it is installed.
    """

    version: str
    draft_by_batch: bool
    methods: frozenset[str]
    runs_on_cpu: bool = False


@dataclass(frozen=True)
class Start:
    """What a start is told.

    Attributes:
        python: interpreter of the engine's environment. model: a directory, or a name of the model hub.
        context: tokens of the longest text; None leaves it to the engine.
        cores: that it may use. words: the user's, at the end of the command line.
        probe_file: where the probe reads how many tokens to draft. steps_file: where casspec's proposer reads what steps take.
    """

    python: Path
    model: str
    setting: EngineSetting
    port: int
    dtype: str
    abilities: Abilities
    context: int | None = None
    cores: tuple[int, ...] = ()
    words: tuple[str, ...] = ()
    probe_file: Path | None = None
    steps_file: Path | None = None


@dataclass(frozen=True)
class CounterNames:
    """Of `/metrics`, as Prometheus tells them. `accepted_by_position` has the position as a label."""

    generated: str
    drafts: str
    draft_tokens: str
    accepted_tokens: str
    accepted_by_position: str
    position_label: str = "position"


@dataclass(frozen=True)
class NgramSpace:
    """Settings of n-gram lookup to choose from. Bounds are inclusive."""

    shortest: tuple[int, int]
    longest: tuple[int, int]
    draft_tokens: tuple[int, int]


class Engine(Protocol):
    """An engine that serves a model over OpenAI's HTTP interface."""

    name: str
    ready_path: str
    """Answers 200 once requests are taken."""
    version_path: str
    """Answers a JSON object with `version`."""
    counters: CounterNames
    ngram: NgramSpace

    def interpreter(self, named: Path | None) -> Path:
        """Of its environment: the named one, else that of the command on PATH. Raises EngineError where it is not installed."""

    def abilities(self, python: Path) -> Abilities:
        """Raises EngineError where this interpreter has no such engine."""

    def abilities_of(self, version: str) -> Abilities:
        """Of an engine of which nothing but the version is known."""

    def words(self, start: Start) -> list[str]:
        """The command line."""

    def variables(self, start: Start) -> dict[str, str]:
        """Added to the environment."""

    def request_fields(self, fresh: str) -> dict[str, Any]:
        """Added to a completion request: token ids are told, and prefixes of requests with another `fresh` are not taken from a cache."""

    def answer_ids(self, choice: Mapping[str, Any]) -> list[int] | None:
        """New token ids in a choice of a streamed event; None where it tells none."""

    def ngram_setting(self, shortest: int, longest: int, draft_tokens: int) -> EngineSetting:
        """N-gram lookup: n-grams of these lengths, the longest that occurs first, its first occurrence."""

    def probe_setting(self, draft_tokens: int) -> EngineSetting:
        """Drafts as many tokens as the probe's file says, up to these."""

    def defaults(self, abilities: Abilities) -> Sequence[EngineSetting]:
        """What is measured without prediction, as far as it is installed."""

    def by_batch(self, setting: EngineSetting, lengths: Mapping[int, int]) -> EngineSetting:
        """The setting with a draft length for each number of requests at a time, 0 for none."""

    def drafts_at(self, setting: EngineSetting, concurrency: int) -> int:
        """Most tokens it drafts with so many requests at a time."""

    def configuration(self, setting: EngineSetting) -> dict[str, Any] | None:
        """What its command line takes; None for no speculation."""

    def refuses(self, setting: EngineSetting) -> tuple[str, ...]:
        """What it refuses with this setting, or needs for it, a line each."""
