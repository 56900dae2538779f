"""Everything besides model, device and precision that decides the outcome of a calibration, by stage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from casspec.storage.errors import StorageError
from casspec.storage.schema import Backend, Document, Forwards, Mode

AUTO = "auto"
"""Of a setting: follows the model that is calibrated (`casspec.tuner.search.budget`)."""


Turns = Literal["first", "all"]
"""Which turns of a conversation are asked: "all" quotes the model's own answers in later ones, where none are recorded."""

Long = Literal["skip", "cut"]
"""What becomes of a prompt that leaves no room in the context: left out, or cut at the front."""


class ProfileSettings(Document):
    """Of the latency profile."""

    seconds: float = 14.0
    rounds: int = 3
    """Measurements of a latency, however short that time is."""
    max_context: int = 2048
    """Largest context latencies are measured at; beyond it they are extrapolated."""
    max_batch: int = 32
    """Largest batch latencies are measured at; beyond it they are extrapolated."""


class RecordSettings(Document):
    """Of the recordings that everything is chosen on."""

    modes: tuple[Mode, ...] = ("sample", "greedy")
    temperature: float = 0.7
    """Of mode "sample"."""
    prompts: int = 16
    """Prompts of the tuning half that are recorded in each mode; a conversation is one, however many of its turns are asked."""
    tokens: int = 128
    turns: Turns = "first"
    """Of conversations, in the benchmark at the end too."""
    long: Long = "skip"
    """In the benchmark at the end too."""


class SearchSettings(Document):
    """Of the search for drafters."""

    recordings: int = 8
    """Recordings of the first mode that a trial is scored on."""
    trials: int | Literal["auto"] = "auto"
    seconds: float | Literal["auto"] = "auto"
    calibration_seconds: float = 480.0
    """That "auto" keeps the whole calibration within, where the search is what makes it longer."""
    patience: int = 24
    """Sampled trials in a row that leave the Pareto front as it is."""


class CascadeSettings(Document):
    """Of the choice of the cascade."""

    max_drafters: int = 2
    """Most self-drafters in the cascade."""
    max_extra_bytes: int | None = None
    """Most memory of packed weights beside the target's own; None is no limit."""
    per_task: bool = False
    """Whether to ask if tasks deserve a cascade of their own."""
    probed_recordings: int = 2
    """Of each decoding mode, for what steps take beside their forwards."""
    probed_steps: int = 24
    """Warm steps of each probe of what steps take beside their forwards."""
    tuning_seconds: float = 3.0
    """Time to tune dytc's parameters for one cascade."""


class BenchSettings(Document):
    """Of the closing benchmark."""

    prompts: int = 5
    """Prompts of the reporting half that are decoded."""
    tokens: int = 128
    modes: tuple[Mode, ...] = ("sample",)
    """Sampling is the main one; `casspec bench` measures both."""
    batches: tuple[int, ...] = (4, 16)
    """Texts at a time that are decoded too, against plain decoding of as many."""
    batch_tokens: int = 32
    """Of each of these texts."""


Changes = Mapping[str, Mapping[str, Any]]
"""New values of settings, by stage and name."""


RUN_BY = ("backend", "forwards")
"""Settings that say what the model's forwards run on, and how."""


class CalibrationSettings(Document):
    """Two calibrations with equal settings are the same one: the second answers from the store.

    Defaults keep a calibration of a small model on two cores within a few minutes, its benchmark included.
    """

    suite: str
    suite_sha256: str
    seed: int = 0
    backend: Backend = "lean"
    """What the model's forwards run on; `begin` takes it from the model."""
    forwards: Forwards | None = None
    """How they run; taken from the model too."""
    profile: ProfileSettings = ProfileSettings()
    record: RecordSettings = RecordSettings()
    search: SearchSettings = SearchSettings()
    cascade: CascadeSettings = CascadeSettings()
    bench: BenchSettings = BenchSettings()

    def stored(self) -> dict[str, Any]:
        """As a store keeps them, and tells calibrations apart by them: what names neither backend nor forwards means the usual ones."""
        dumped = self.model_dump(mode="json")
        usual = {("backend", "lean"), ("forwards", None)}
        return {name: value for name, value in dumped.items() if name not in RUN_BY or (name, value) not in usual}

    def changed(self, changes: Changes) -> Self:
        """These settings with some values of some stages replaced."""
        stages = {stage: getattr(self, stage).model_copy(update=dict(values)) for stage, values in changes.items()}
        return self.model_copy(update=stages)

    @classmethod
    def of_stored(cls, values: Mapping[str, Any]) -> CalibrationSettings:
        """Those among what a calibration was stored with, whether it searched or tuned methods.

        Raises StorageError where an earlier release stored them in another shape.
        """
        if not is_by_stage(values):
            raise StorageError(
                "this calibration was made by an earlier release of casspec, which knew other settings: "
                "run `casspec calibrate` again"
            )
        known = {name: value for name, value in values.items() if name in CalibrationSettings.model_fields}
        return CalibrationSettings.model_validate(known)


def is_by_stage(values: Mapping[str, Any]) -> bool:
    """Whether stored settings are those of a calibration as this release makes it."""
    return {"record", "search"} <= values.keys()


def unchanged_choice(settings: CalibrationSettings) -> CalibrationSettings:
    """The settings with the usual choice of the cascade: nothing has to be measured again for another one."""
    usual = CascadeSettings()
    asked = ("max_drafters", "max_extra_bytes", "per_task")
    return settings.changed({"cascade": {name: getattr(usual, name) for name in asked}})


QUICK: Changes = {
    "profile": {"seconds": 5.0, "rounds": 2, "max_context": 512, "max_batch": 8},
    "record": {"prompts": 5, "tokens": 64},
    "search": {"recordings": 5, "calibration_seconds": 60.0, "patience": 8},
    "cascade": {"probed_recordings": 1, "probed_steps": 8, "tuning_seconds": 0.5},
    "bench": {"prompts": 1, "batches": ()},
}
"""For a calibration that is there soon: a working profile, no claim about how good it is."""


class MethodTuningSettings(Document):
    """Of tuning methods by real decodes, on a profile that is taken over."""

    profile_hash: str
    """Content hash of that profile."""
    methods: tuple[str, ...]
    seconds_per_method: float = 30.0
    settings_per_method: int = 16


class RunTuningSettings(CalibrationSettings):
    """Of a calibration that takes an earlier one's profile over and tunes methods by real decodes."""

    tune: MethodTuningSettings
