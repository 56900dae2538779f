"""What the stages of a calibration work on."""

from __future__ import annotations

from dataclasses import dataclass

from casspec.runtime.model.target import TargetModel
from casspec.storage.repository import Repository
from casspec.tuner.external_databases import ExternalDatabases
from casspec.tuner.settings import CalibrationSettings
from casspec.tuner.suites.prompts import Suite


@dataclass(frozen=True)
class SearchContext:
    """What whoever takes part in a search knows of its calibration: where it is kept, of what it is, how it is made."""

    repository: Repository
    databases: ExternalDatabases
    calibration_id: str
    target: TargetModel
    settings: CalibrationSettings


@dataclass(frozen=True)
class CalibrationContext(SearchContext):
    """One calibration under way, for all of its stages."""

    suite: Suite
