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
        python: what starts it, the interpreter of its environment or the program. model: a directory, a file, or a name of the model hub.
        context: tokens of the longest text; None leaves it to the engine.
        cores: that it may use. words: the user's, at the end of the command line.
        probe_file: where the probe reads how many tokens to draft. steps_file: where casspec's proposer reads what steps take.
        folder: for files that the engine is to read. requests: most at a time. longest: tokens of the longest text that is asked for.
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
    folder: Path | None = None
    requests: int = 1
    longest: int | None = None


@dataclass(frozen=True)
class CounterNames:
    """Of what Prometheus is told at `path`; None for what the engine does not count.

    Attributes:
        accepted_by_position: has the position as a label.
        requests: where accepted tokens are not counted they follow from drafts and requests. The first token of a request is its prompt's,
            and a draft brings one token more than are accepted. That holds where every later step verifies a draft.
        is_late: counters are told only once they have counted something.
    """

    generated: str
    drafts: str | None = None
    draft_tokens: str | None = None
    accepted_tokens: str | None = None
    accepted_by_position: str | None = None
    position_label: str = "position"
    requests: str | None = None
    is_late: bool = False
    path: str = "/metrics"


@dataclass(frozen=True)
class NgramSpace:
    """Settings of n-gram lookup to choose from. Bounds are inclusive.

    Attributes:
        takes_last: lookup is of n-grams of one length, `longest`, and of their last occurrence, as
            `casspec.tuner.engines.tuning.predicting.acceptance` has it; else of the longest that occurs, and its first occurrence.
    """

    shortest: tuple[int, int]
    longest: tuple[int, int]
    draft_tokens: tuple[int, int]
    takes_last: bool = False


class Engine(Protocol):
    """An engine that serves a model over OpenAI's HTTP interface."""

    name: str
    ready_path: str
    """Answers 200 once requests are taken."""
    version_path: str
    """Answers a JSON object with `version_field`."""
    version_field: str
    forget_path: str | None
    """Answers 200 once what earlier requests left is forgotten; None where they leave nothing that drafts are copied from."""
    scratch_variable: str | None
    """Environment variable that names a folder for files it would leave behind; None where it leaves none, or cannot be told."""
    deciding_variables: tuple[str, ...]
    """Of `variables` those that decide figures, so that whoever serves needs them too."""
    counters: CounterNames
    ngram: NgramSpace | None
    """None where it has no lookup whose drafts are known from a text alone."""

    def interpreter(self, named: Path | None) -> Path:
        """What starts it: the named file, else what the command on PATH stands for. Raises EngineError where it is not installed."""

    def abilities(self, python: Path) -> Abilities:
        """Raises EngineError where this is not what starts such an engine."""

    def abilities_of(self, version: str) -> Abilities:
        """Of an engine of which nothing but the version is known."""

    def words(self, start: Start) -> list[str]:
        """The command line. Raises EngineError for a model that it cannot be given."""

    def variables(self, start: Start) -> dict[str, str]:
        """Added to the environment."""

    def request_fields(self, fresh: str) -> dict[str, Any]:
        """Added to a completion request: token ids are told, and prefixes of requests with another `fresh` are not taken from a cache."""

    def answer_ids(self, choice: Mapping[str, Any]) -> list[int] | None:
        """New token ids in a choice of a streamed event; None where it tells none."""

    def ngram_setting(self, shortest: int, longest: int, draft_tokens: int) -> EngineSetting:
        """N-gram lookup with n-grams of these lengths, as `ngram` says."""

    def ngram_lengths(self, setting: EngineSetting) -> tuple[int, int] | None:
        """The first two arguments of `ngram_setting`; None for another kind of setting."""

    def probe_setting(self, draft_tokens: int) -> EngineSetting | None:
        """Drafts as many tokens as the probe's file says, up to these; None for an engine that takes no probe."""

    def defaults(self, abilities: Abilities) -> Sequence[EngineSetting]:
        """What is measured without prediction, as far as it is installed."""

    def by_batch(self, setting: EngineSetting, lengths: Mapping[int, int]) -> EngineSetting:
        """The setting with a draft length for each number of requests at a time, 0 for none; where abilities say that it can."""

    def drafts_at(self, setting: EngineSetting, concurrency: int) -> int:
        """Most tokens it drafts with so many requests at a time."""

    def configuration(self, setting: EngineSetting) -> dict[str, Any] | None:
        """In its own words, as `casspec.storage.export.engine_file` writes them; None for no speculation."""

    def refuses(self, setting: EngineSetting) -> tuple[str, ...]:
        """What it refuses with this setting, or needs for it, a line each."""
