"""Refuses a profile that was made for another model or device, and warns of one whose device was only faster or slower."""

from __future__ import annotations

import logging
from functools import cache
from shlex import quote

from casspec.runtime.loading.device import device_fingerprint, kernel_difference, speed_difference
from casspec.runtime.loading.fingerprint import model_fingerprint
from casspec.runtime.model.target import TargetModel
from casspec.storage.errors import ProfileMismatch
from casspec.storage.schema import CascadeProfile

_log = logging.getLogger("casspec")


def check_profile(profile: CascadeProfile, target: TargetModel) -> None:
    """Refuses a profile whose calibration says nothing about this model here, and warns of one that may misjudge its speed.

    * Another model or dtype, another kind of device, or one with other kernels (instruction sets, SM version): ProfileMismatch.
    * The same kernels on a device of another name, with more or less memory or another number of threads, or forwards that are
      captured as graphs in one place alone: one line of warning, once a process. Texts are the same, the cascade may no longer be
      the fastest.
    """
    difference = compare_profile(profile, target) or forwards_difference(profile, target)
    if difference is not None:
        _warn_once(
            f"profile {profile.profile_id} was calibrated {difference}: texts are the same, but other drafters may be faster; "
            f"casspec calibrate {quote(target.name)} makes a profile of this device"
        )


@cache
def _warn_once(line: str) -> None:
    _log.warning(line)


def forwards_difference(profile: CascadeProfile, target: TargetModel) -> str | None:
    """How the model's forwards run otherwise than those that were measured, None where they do not."""
    if profile.forwards == target.forwards:
        return None
    if profile.forwards == "operators":
        return "without compiled forwards, and forwards are compiled here"
    if target.forwards == "operators":
        return "with compiled forwards, and forwards are not to be compiled here"
    if target.forwards is None:
        return f"with CUDA graphs, and forwards run without them here ({target.graphs_refusal or 'they are off'})"
    return "without CUDA graphs, and forwards run with them here"


def compare_profile(profile: CascadeProfile, target: TargetModel) -> str | None:
    """How this device differs in speed from the one calibrated (`speed_difference`), None where it does not.

    Raises ProfileMismatch for another model or dtype, and for a device with other kernels (`kernel_difference`).
    """
    found = model_fingerprint(target)
    calibrated_for = profile.model
    if None in (
        found.tokenizer_sha256,
        calibrated_for.tokenizer_sha256,
    ):  # a model wrapped or loaded without a tokenizer
        unknown = {"tokenizer_sha256": None}
        found, calibrated_for = found.model_copy(update=unknown), calibrated_for.model_copy(update=unknown)
    if found.identity() != calibrated_for.identity():
        differing = [
            part
            for part in ("config", "weights", "tokenizer")
            if getattr(found, f"{part}_sha256") != getattr(calibrated_for, f"{part}_sha256")
        ]
        raise ProfileMismatch(
            f"profile {profile.profile_id} was calibrated for '{profile.model.name}', not for '{target.name}' "
            f"(another {', '.join(differing) or 'model'}); run: casspec calibrate {quote(target.name)}"
        )
    dtype = target.dtype_name
    if dtype != profile.dtype:
        raise ProfileMismatch(
            f"profile {profile.profile_id} was calibrated in {profile.dtype}, the model is loaded in {dtype}; "
            f"load it with dtype {profile.dtype} or run: casspec calibrate {quote(target.name)} --dtype {dtype}"
        )
    backend = profile.backend or "lean"
    if backend != target.backend:
        raise ProfileMismatch(
            f"profile {profile.profile_id} was calibrated on the {backend} backend, the model runs on the {target.backend} one; "
            f"load it with backend {backend} or run: casspec calibrate {quote(target.name)} --backend {target.backend}"
        )
    here = device_fingerprint(target.device)
    refusal = kernel_difference(profile.device, here)
    if refusal is not None:
        raise ProfileMismatch(
            f"profile {profile.profile_id} was calibrated {refusal}; run casspec calibrate on this device"
        )
    return speed_difference(profile.device, here)
