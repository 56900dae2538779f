"""Methods tuned by real decodes on the tuning half, every method with the same budget: seconds and number of settings.

Replay (`tuner/methods/by_replay.py`) costs nothing but knows only methods whose drafts need no forward. Here every setting
decodes, whatever it drafts with.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from pydantic import Field

from casspec.profiler.progress import Progress
from casspec.runtime.decode import Decoder
from casspec.runtime.loading.profiles import LoadedProfile
from casspec.runtime.model.target import TargetModel
from casspec.storage.document import Document
from casspec.storage.errors import CasspecError, UnsupportedOption
from casspec.storage.repository import Repository
from casspec.storage.schema import CascadeProfile, DrafterSpec, Mode
from casspec.tuner.bench.entries import AUTOREGRESSIVE, TextGenerator
from casspec.tuner.bench.requests import request
from casspec.tuner.methods.grids import GRIDS, published_setting, settings_of, takes
from casspec.tuner.methods.halving import Halving, Racer, Round
from casspec.tuner.recordings.recording import Recording, recycling_matrix
from casspec.tuner.recordings.stage import chosen_prompts, stored_recordings
from casspec.tuner.recordings.traced_plan import RecordingKey
from casspec.tuner.settings import RunTuningSettings
from casspec.tuner.suites.prompts import Suite
from casspec.tuner.suites.token_prompts import TokenPrompt

RUN_TUNED_KIND = "run-tuned"
N_FOLDS = 2


Generators = Callable[[str, dict[str, Any]], Sequence[TextGenerator]]
"""(method, parameters) -> what decodes with them, by fold."""


class RunTuned(Document):
    """What tuning a method found, or why it could not run."""

    method: str
    parameters: dict[str, int | float | str | bool] = Field(default_factory=dict)
    """The fastest setting: a value on every axis of the method's grid, and whatever else the profile had set."""
    speedup: dict[Mode, float] = Field(default_factory=dict)
    """By decoding mode, over autoregressive decoding in the same rounds of the tuning half."""
    published_speedup: dict[Mode, float] = Field(default_factory=dict)
    """Of the published setting, in the same rounds."""
    n_settings: int = 0
    decode_seconds: float = 0.0
    skipped: str = ""

    @property
    def changes(self) -> dict[str, int | float | str | bool]:
        """What differs from the published setting."""
        published = published_setting(self.method)
        return {axis: value for axis, value in self.parameters.items() if value != published.get(axis)}


@dataclass(frozen=True)
class Folds:
    """The tuning half in two: what is decoded in one starts from a recycling matrix of the other's recordings.

    The profile's own matrix remembers these very texts, which would flatter methods that recycle.
    """

    prompts: tuple[TokenPrompt, ...]
    fold_of: dict[str, int]
    modes: tuple[Mode, ...]
    seed: int
    quoting: Mapping[RecordingKey, tuple[int, ...]] = field(default_factory=dict)
    """Token ids of later turns, which quote what was answered before in the same mode."""

    @classmethod
    def of(
        cls,
        suite: Suite,
        target: TargetModel,
        settings: RunTuningSettings,
        recordings: Mapping[RecordingKey, Recording] | None = None,
    ) -> Folds:
        """The recorded prompts, tasks in turn, each with its later turns; the prompts of a task go to the folds in turn.

        Args:
            recordings: of the calibration; without them first turns only.
        """
        recorded, modes = recordings or {}, settings.record.modes
        seen: Counter[str] = Counter()
        prompts: list[TokenPrompt] = []
        fold_of: dict[str, int] = {}
        quoting: dict[RecordingKey, tuple[int, ...]] = {}
        for prompt, tokens in chosen_prompts(suite, target, settings.record):
            fold = seen[prompt.task] % N_FOLDS
            seen[prompt.task] += 1
            fold_of |= dict.fromkeys(map(prompt.turn_id, range(len(prompt.turns))), fold)
            prompts.append(TokenPrompt(prompt.id, prompt.task, tuple(tokens)))
            for turn_id in map(prompt.turn_id, range(1, len(prompt.turns))):
                if any((turn_id, mode) not in recorded for mode in modes):
                    break
                ids = {(turn_id, mode): tuple(recorded[turn_id, mode].prompt_tokens.tolist()) for mode in modes}
                prompts.append(TokenPrompt(turn_id, prompt.task, ids[turn_id, modes[0]]))
                quoting |= ids
        return cls(tuple(prompts), fold_of, modes, settings.seed, quoting)

    def round_at(self, index: int) -> Round:
        """Every prompt in turn, and over again under other noise; never the noise of the recordings."""
        turn, place = divmod(index, len(self.prompts))
        prompt = self.prompts[place]
        asked = {mode: self.quoting.get((prompt.id, mode), prompt.token_ids) for mode in self.modes}
        requests = tuple(
            request(replace(prompt, token_ids=ids), mode, self.seed, turn + 1) for mode, ids in asked.items()
        )
        return Round(self.fold_of[prompt.id], requests)


@dataclass(frozen=True)
class RunTuner:
    """Tunes methods one after the other; every outcome is kept in the store as it is found, and looked up there first.

    Attributes:
        calibration_id: ID of the calibration it belongs to.
        drafters: the profile's.
        stored: by method, the setting the profile has: it stays unless another is clearly faster, so that a short race cannot make
            it worse by chance. One with a plan that the method's grid does not hold is not taken.
    """

    repository: Repository
    calibration_id: str
    settings: RunTuningSettings
    folds: Folds
    drafters: tuple[DrafterSpec, ...]
    generators: Generators
    stored: Mapping[str, dict[str, Any]] = field(default_factory=dict)

    def run(self, progress: Progress) -> list[RunTuned]:
        """One outcome a method, in the settings' order."""
        methods, seconds = self.settings.tune.methods, self.settings.tune.seconds_per_method
        total, outcomes = round(len(methods) * seconds), []
        for done, method in enumerate(methods):

            def tell(spent_ms: float, alive: int, method: str = method, before: float = done * seconds) -> None:
                progress(round(before + min(spent_ms / 1e3, seconds)), total, f"{method}, {alive} settings")

            document = self.repository.get_document(self.calibration_id, RUN_TUNED_KIND, method)
            if document is None:
                found = self._tuned(method, tell).model_dump(mode="json")
                document = self.repository.put_document(self.calibration_id, RUN_TUNED_KIND, method, found)
            outcomes.append(RunTuned.model_validate(document))
        progress(total, total, "")
        return outcomes

    def _tuned(self, method: str, tell: Callable[[float, int], None]) -> RunTuned:
        settings = self.settings
        try:
            halved = Halving(
                self._racers(method),
                self.generators(AUTOREGRESSIVE, {}),
                self.folds.round_at,
                settings.tune.seconds_per_method * 1e3,
                settings.record.tokens,
                settings.seed,
                tell,
            ).run()
        except CasspecError as error:
            return RunTuned(method=method, skipped=str(error))
        return RunTuned(
            method=method,
            parameters=halved.best.parameters,
            speedup=halved.best.speedups,
            published_speedup=halved.published.speedups,
            n_settings=halved.n_settings,
            decode_seconds=halved.spent_ms / 1e3,
        )

    def _racers(self, method: str) -> list[Racer]:
        """The published setting, which must be there, and whichever others can be built here: the stored one and more of the grid."""
        published, *others = islice(
            settings_of(method, self.drafters, self.settings.seed), self.settings.tune.settings_per_method
        )
        stored = published | self.stored.get(method, {})
        kept = bool(self.stored.get(method)) and stored == published
        racers = [Racer(published, self.generators(method, published), stays=kept)]
        if stored != published and takes(method, stored, self.drafters):
            others = [stored, *(setting for setting in others if setting != stored)]
        for parameters in others[: self.settings.tune.settings_per_method - 1]:
            with suppress(CasspecError):
                racers.append(Racer(parameters, self.generators(method, parameters), stays=parameters is stored))
        return racers


def tunable(methods: Sequence[str] | None) -> tuple[str, ...]:
    """The methods to tune, each once; None is all that have a grid. Raises UnsupportedOption for one without."""
    chosen = tuple(GRIDS) if methods is None else tuple(dict.fromkeys(methods))
    for method in chosen:
        if method not in GRIDS:
            raise UnsupportedOption(f"method '{method}' has nothing to tune; methods that have: {', '.join(GRIDS)}")
    return chosen


def fold_decoders(
    repository: Repository, calibration_id: str, target: TargetModel, profile: CascadeProfile, folds: Folds
) -> Generators:
    """Decoders of a method, each with a matrix that has not seen the prompts of its fold."""
    recordings = stored_recordings(repository, calibration_id).values()
    matrices = []
    for fold in range(N_FOLDS):
        others = [recording for recording in recordings if folds.fold_of.get(recording.prompt_id) != fold]
        matrices.append(recycling_matrix(others, target.vocab_size).to_bytes())
    loaded = [LoadedProfile(profile, matrix) for matrix in matrices]
    return lambda method, parameters: [Decoder(target, each, method, parameters) for each in loaded]
