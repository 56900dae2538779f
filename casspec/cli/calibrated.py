"""The model of a stored profile or calibration, loaded as it was when it was calibrated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from casspec.cli.options import compile_option_of
from casspec.storage.plans import Forwards, were_compiled

if TYPE_CHECKING:
    from casspec.runtime.model.target import BackendChoice, TargetModel
    from casspec.storage.schema import CascadeProfile

compile_as_calibrated_option = compile_option_of(None, "as when it was calibrated")
"""`--compile`; `compiles` is None where it is not given."""


def load_calibrated(
    name: str,
    device: str,
    dtype: str,
    backend: BackendChoice,
    forwards: Forwards | None,
    compiles: bool | None,
) -> TargetModel:
    """Loads the model `name`.

    Args:
        dtype, backend, forwards: of the calibration. compiles: what `--compile` said, None for forwards as they were.
    """
    import casspec

    if compiles is None:
        compiles = were_compiled(device, backend, forwards)
    return casspec.load_target(name, device=device, dtype=dtype, backend=backend, compiles=compiles)


def load_for(profile: CascadeProfile, name: str, device: str, compiles: bool | None) -> TargetModel:
    """The model of a profile, by the name it has here. Raises ProfileMismatch where it is not that model, or not such a device."""
    from casspec.runtime.loading.profile_check import check_profile

    target = load_calibrated(name, device, profile.dtype, profile.backend or "lean", profile.forwards, compiles)
    check_profile(profile, target)
    return target
