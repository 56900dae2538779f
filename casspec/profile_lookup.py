"""Finds profiles: in the database, or in a JSON file with its artifacts beside it.

A JSON file needs the base install only. A profile without the recycling matrix it names is complete all the same: the
drafters that would start from the matrix start cold, and that is logged.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from casspec.runtime.loading.profile_check import compare_profile
from casspec.runtime.loading.profiles import LoadedProfile
from casspec.runtime.model.target import TargetModel
from casspec.storage import open_repository
from casspec.storage.errors import ProfileMismatch, ProfileNotFound, UnsupportedOption
from casspec.storage.export import json_profile
from casspec.storage.schema import RECYCLING_MATRIX, Artifact, CascadeProfile

if TYPE_CHECKING:
    from casspec.storage.repository import Repository

_log = logging.getLogger("casspec")


def load_profile(
    selection: str | Path, storage: str | None = None, task: str | None = None, target: TargetModel | None = None
) -> LoadedProfile:
    """A profile with its artifacts.

    Args:
        selection: an ID or the unique beginning of one, an alias ("production"), "latest", or the path of a JSON file from
            `casspec export`; or the URL of a hub, hub://HOST:PORT, where the one that fits `target` is meant.
        storage: database URL or path; None means CASSPEC_STORAGE, then the user data directory.
        task: what will be decoded, by its name in the suite; a task without a cascade of its own has the one for all.
        target: the model that is to be decoded; needed with a hub (`casspec.hub.fetched.hub_profile`).

    Raises:
        ProfileNotFound: no such profile or file.
        HubUnreachable: a hub is away, and nothing was fetched from it before; HubError: it refuses.
        MalformedFile: a file that holds no profile.
        StorageError: a database that cannot be opened.
    """
    if is_hub(selection):
        from casspec.hub.fetched import hub_profile

        if target is None:
            raise UnsupportedOption("a hub finds profiles by the model: give load_profile the target too, target=...")
        loaded = hub_profile(str(selection), target)
    elif is_file(selection):
        path = Path(selection).expanduser()
        document = json_profile.read(path)
        loaded = _with_artifacts(document, lambda artifact: json_profile.read_artifact(path, artifact))
    else:
        with open_repository(storage) as repository:
            document = repository.profile(str(selection))
            loaded = _with_artifacts(document, lambda artifact: repository.artifact(artifact.sha256))
    return replace(loaded, task=task)


def profile_for(
    target: TargetModel, selection: str, storage: str | None = None, any_dtype: bool = False
) -> LoadedProfile:
    """As `load_profile`, but an alias means the profile of this model, dtype and backend that has it.

    One of this very device goes before one of another device with the same kernels.

    `any_dtype`: where none of the target's dtype and backend has it, the one made with others.

    Raises what `load_profile` raises; ProfileNotFound too where only profiles of others have the alias.
    """
    if is_hub(selection) or is_file(selection):
        return load_profile(selection, storage, target=target)
    with open_repository(storage) as repository:
        holders = {profile_hash for profile_hash, names in repository.aliases().items() if selection in names}

        def holds(profile: CascadeProfile) -> bool:
            return profile.content_hash() in holders

        found = _fitting(repository, target, holds)
        if found is None and any_dtype:
            found = _fitting(repository, target, holds, any_dtype=True)
    if found is None and holders:
        raise ProfileNotFound(
            f"no profile of '{target.name}' for this device in this precision is {selection!r}: `casspec profiles list` shows "
            "who is, `casspec profiles promote` makes one"
        )
    return found or load_profile(selection, storage)


def fitting_profile(target: TargetModel, storage: str | None = None, any_dtype: bool = False) -> LoadedProfile:
    """The latest stored profile made for this model, dtype and device; where there is none, of a device with the same kernels.

    Args:
        any_dtype: where there is none, the latest made in another dtype.

    Raises ProfileNotFound when there is none, StorageError for a database that cannot be opened.
    """
    with open_repository(storage) as repository:
        found = _fitting(repository, target)
        if found is None and any_dtype:
            found = _fitting(repository, target, any_dtype=True)
    if found is None:
        raise ProfileNotFound(f"no profile is stored for '{target.name}' on this device or one with its kernels")
    return found


def as_if_made_for(profile: CascadeProfile, target: TargetModel) -> CascadeProfile:
    """The profile as if it had been made in the target's dtype, on its backend: what it says of speed is off then, texts are equal all the
    same."""
    return profile.model_copy(update={"dtype": target.dtype_name, "backend": target.backend})


def _fitting(
    repository: Repository,
    target: TargetModel,
    wanted: Callable[[CascadeProfile], bool] = lambda profile: True,
    any_dtype: bool = False,
) -> LoadedProfile | None:
    """The latest wanted profile made for this model and dtype on this very device; where none was, on one with the same kernels."""
    found = None
    for profile in filter(wanted, repository.profiles()):
        try:
            difference = compare_profile(as_if_made_for(profile, target) if any_dtype else profile, target)
        except ProfileMismatch:
            continue
        if difference is None:
            found = profile
            break
        found = found or profile
    if found is None:
        return None
    return _with_artifacts(found, lambda artifact: repository.artifact(artifact.sha256))


def is_hub(selection: str | Path) -> bool:
    return isinstance(selection, str) and selection.startswith(("hub://", "hubs://"))


def is_file(selection: str | Path) -> bool:
    text = str(selection)
    return isinstance(selection, Path) or os.sep in text or text.endswith(".json") or Path(text).is_file()


def _with_artifacts(profile: CascadeProfile, read: Callable[[Artifact], bytes | None]) -> LoadedProfile:
    artifact = next((artifact for artifact in profile.artifacts if artifact.name == RECYCLING_MATRIX), None)
    if artifact is None:
        return LoadedProfile(profile)
    matrix = read(artifact)
    if matrix is None:
        _log.warning(
            "profile %s: its %s is not here, so token recycling starts cold", profile.profile_id, RECYCLING_MATRIX
        )
    return LoadedProfile(profile, matrix)
