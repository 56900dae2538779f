"""Profiles of a hub by the fingerprint of a model and this device, kept on this machine for when the hub is away.

What is fetched and what was kept are held against the hashes that name them; neither is taken where it differs.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import ValidationError

from casspec.hub.client import HubClient
from casspec.runtime.loading.device import device_fingerprint, kernel_difference, speed_difference
from casspec.runtime.loading.fingerprint import model_fingerprint
from casspec.runtime.loading.profile_check import compare_profile
from casspec.runtime.loading.profiles import LoadedProfile
from casspec.runtime.model.target import TargetModel
from casspec.storage.errors import CasspecError, HubError, HubUnreachable, ProfileNotFound
from casspec.storage.export import json_profile
from casspec.storage.folders import user_cache_directory
from casspec.storage.schema import RECYCLING_MATRIX, Artifact, CascadeProfile, DeviceFingerprint

_log = logging.getLogger("casspec")


def hub_profile(url: str, target: TargetModel) -> LoadedProfile:
    """The latest profile of a hub for this model, dtype, backend and device; where there is none, of a device with the same kernels.

    Args:
        url: hub://HOST:PORT, hubs:// for TLS; behind a slash an alias that the profile has to have, or its ID.

    Raises:
        HubUnreachable: the hub is away, and nothing was kept of it for this model and device.
        HubError: it refuses, or what it answers is not what its hash says. ProfileNotFound: it has none that fits.
        ProfileMismatch: the profile with this ID is another model's or device's.
    """
    client = HubClient(url)
    wanted = _Wanted(client.url, selection_of(url), target)
    try:
        here = device_fingerprint(target.device)
        profile_hash = _found(client, wanted, model_fingerprint(target).identity(), here)
        profile = wanted.kept_profile(profile_hash) or _profile(client, profile_hash)
        loaded = LoadedProfile(profile, _matrix(client, profile, wanted.file(profile_hash)))
    except HubUnreachable as away:
        kept = wanted.kept()
        if kept is None:
            raise
        _log.warning("%s; going on with profile %s, fetched before", away, kept.document and kept.document.profile_id)
        return kept
    compare_profile(profile, target)
    wanted.keep(profile_hash, loaded)
    return loaded


class HubWatch:
    """Asks a hub which profile `hub_profile` would fetch now, without fetching it. The model is looked at once, here.

    Args:
        url, target: of `hub_profile`.
    """

    def __init__(self, url: str, target: TargetModel, timeout_s: float = 30.0) -> None:
        self._client = HubClient(url, timeout_s=timeout_s)
        self._wanted = _Wanted(self._client.url, selection_of(url), target)
        self._model, self._device = model_fingerprint(target).identity(), device_fingerprint(target.device)

    def newest(self) -> str:
        """Content hash. Raises HubError, HubUnreachable and ProfileNotFound as `hub_profile`, which goes on with what was kept."""
        return _found(self._client, self._wanted, self._model, self._device)


def selection_of(url: str) -> str:
    """What stands behind a hub's address: an alias, an ID, or nothing."""
    return unquote(urlsplit(url).path.strip("/"))


def alias_of(url: str) -> str | None:
    """The alias that a hub's URL names; None for the latest and for a profile by its ID."""
    selection = selection_of(url)
    return None if not selection or _is_id(selection) else selection


@dataclass(frozen=True)
class _Wanted:
    """What is asked of which hub, and where the answer is kept."""

    base: str
    selection: str
    target: TargetModel

    @property
    def folder(self) -> Path:
        return user_cache_directory() / "hub" / hashlib.sha256(self.base.encode()).hexdigest()[:16]

    @property
    def note(self) -> Path:
        """The file that says which profile was the answer."""
        target = self.target
        asked = [self.selection, model_fingerprint(target).identity(), device_fingerprint(target.device).identity()]
        asked += [target.dtype_name, target.backend]
        return self.folder / f"{hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:32]}.answer"

    def file(self, profile_hash: str) -> Path:
        return self.folder / f"{profile_hash}.json"

    def kept_profile(self, profile_hash: str) -> CascadeProfile | None:
        """None where it was not kept, or is not whole."""
        try:
            profile = json_profile.read(self.file(profile_hash))
        except CasspecError:
            return None
        return profile if profile.content_hash() == profile_hash else None

    def kept(self) -> LoadedProfile | None:
        """The last answer."""
        try:
            profile_hash = self.note.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError):
            return None
        profile = self.kept_profile(profile_hash) if _is_hash(profile_hash) else None
        if profile is None:
            return None
        compare_profile(profile, self.target)
        named = _named_matrix(profile)
        matrix = None if named is None else json_profile.read_artifact(self.file(profile_hash), named)
        return LoadedProfile(profile, matrix)

    def keep(self, profile_hash: str, loaded: LoadedProfile) -> None:
        """The artifact first, then the profile, then that it was the answer. A folder that cannot be written is no error."""
        assert loaded.document is not None
        file, named = self.file(profile_hash), _named_matrix(loaded.document)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            if named is not None and loaded.recycling_matrix is not None:
                json_profile.write_whole(json_profile.artifact_file(file, named), loaded.recycling_matrix)
            json_profile.write_whole(file, loaded.document.canonical_json().encode())
            json_profile.write_whole(self.note, profile_hash.encode())
        except OSError as error:
            _log.warning("profile %s is not kept for when the hub is away: %s", profile_hash[:12], error)


def _found(client: HubClient, wanted: _Wanted, model: str, here: DeviceFingerprint) -> str:
    """Content hash of the profile that is meant.

    Args:
        model: identity of the target's fingerprint. here: this device.
    """
    target, selection, best = wanted.target, wanted.selection, None
    if _is_id(selection):
        return client.profile(selection).content_hash()
    for each in client.profiles(model, dtype=target.dtype_name, alias=selection or None):
        profile_hash, device = _summary(each)
        if each.get("backend") != target.backend or kernel_difference(device, here) is not None:
            continue
        if speed_difference(device, here) is None:
            return profile_hash
        best = best or profile_hash
    if best is None:
        named = f" that is {selection!r}" if selection else ""
        raise ProfileNotFound(
            f"the hub at {client.url} has no profile{named} of '{target.name}' in {target.dtype_name} for this device or one with its "
            "kernels: `casspec job submit` has one made"
        )
    return best


def _summary(each: Mapping[str, Any]) -> tuple[str, DeviceFingerprint]:
    """Content hash and device of a profile in a list."""
    try:
        profile_hash = str(each["profile_hash"])
        device = DeviceFingerprint.model_validate(
            {name: value for name, value in each["device"].items() if name != "identity"}
        )
    except (KeyError, TypeError, AttributeError, ValidationError):
        raise HubError("the hub's list of profiles cannot be read: is it of another release?") from None
    if not _is_hash(profile_hash):
        raise HubError("the hub's list of profiles names one by what is no hash")
    return profile_hash, device


def _profile(client: HubClient, profile_hash: str) -> CascadeProfile:
    profile = client.profile(profile_hash)
    if profile.content_hash() != profile_hash:
        raise HubError(
            f"the hub at {client.url} answers with another profile than {profile_hash[:12]}: ask its operator"
        )
    return profile


def _matrix(client: HubClient, profile: CascadeProfile, file: Path) -> bytes | None:
    """The recycling matrix, as kept or fetched; None where the profile has none or the hub lacks it, which is said."""
    named = _named_matrix(profile)
    if named is None:
        return None
    content = json_profile.read_artifact(file, named)
    if content is not None:
        return content
    try:
        content = client.artifact(profile.content_hash(), named.name)
    except HubError as error:
        if error.status != 404:
            raise
        _log.warning("profile %s: the hub lacks its %s, so token recycling starts cold", profile.profile_id, named.name)
        return None
    if hashlib.sha256(content).hexdigest() != named.sha256:
        raise HubError(
            f"the {named.name} of profile {profile.profile_id} is not what its hash says: ask the hub's operator"
        )
    return content


def _named_matrix(profile: CascadeProfile) -> Artifact | None:
    return next((artifact for artifact in profile.artifacts if artifact.name == RECYCLING_MATRIX), None)


def _is_id(selection: str) -> bool:
    return bool(selection) and set(selection) <= set("0123456789abcdef")


def _is_hash(text: str) -> bool:
    return len(text) == 64 and set(text) <= set("0123456789abcdef")
