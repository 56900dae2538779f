"""The errors casspec raises on purpose. Each message says what was wrong, what was expected and what to do next, in
one line.

The command line prints such a message as it stands and exits with `exit_code`; anything else is a bug and shows a
traceback only with `CASSPEC_DEBUG=1`. They live on the lowest floor so that every floor can raise them.
"""

from __future__ import annotations


class CasspecError(Exception):
    """Base of all errors meant for the user."""

    exit_code = 2


class UnknownModel(CasspecError):
    """A path or name that holds no model."""


class UnsupportedModel(CasspecError):
    """A model family or configuration the lean forward does not cover."""


class UnsupportedOption(CasspecError):
    """A setting that this method, device or build cannot honour."""


class BrokenMethod(CasspecError):
    """A decoding method that drafted what no step can verify."""


class ContextOverflow(CasspecError):
    """A request that does not fit the model's context or the cache."""


class ProfileMismatch(CasspecError):
    """A profile of another model or dtype, or of a device with other kernels."""


class ProfileNotFound(CasspecError):
    """No stored profile under this ID, path or selection."""


class AliasMoved(CasspecError):
    """An alias that another profile has than was expected."""


class CalibrationNotFound(CasspecError):
    """No stored calibration under this ID or selection."""


class JobNotFound(CasspecError):
    """No job under this ID."""


class TokenNotFound(CasspecError):
    """No token of this name."""


class QueueFull(CasspecError):
    """As many jobs wait as may."""


class MalformedFile(CasspecError):
    """A profile or skip-set file that cannot be read; names the place."""


class SuiteError(CasspecError):
    """A prompt suite that cannot be read; names the line."""


class StorageError(CasspecError):
    """A database that is missing, read-only, newer, corrupt or full."""


class MirrorError(StorageError):
    """MLflow's database or server that cannot be used. What it was to be told is stored here."""


class LeaseLost(StorageError):
    """A write under a lease that another holder has taken over; nothing was written."""


class ResultNotFound(CasspecError):
    """No stored result of an engine under this ID."""


class EngineError(CasspecError):
    """Another engine that is missing, does not start, or answers with what it should not."""


class HubError(CasspecError):
    """A hub that refuses, or answers with what it should not."""

    status: int | None = None
    """Of its answer, where there was one."""


class HubUnreachable(HubError):
    """A hub that does not answer."""


class FleetError(CasspecError):
    """The cluster that places jobs cannot be reached."""
