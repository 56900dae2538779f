"""Profiles in MLflow's model registry: a registered model for each model, dtype, device and backend, a version for each profile.

A version is the folder of a profile as `casspec export` writes it, so that

    mlflow artifacts download --artifact-uri "models:/NAME@production" --dst-path here

gives what `casspec.load_profile` reads. Our store says who has which alias; here they are brought in line with it. Others keep
profiles in the registry of a team too: there a profile is given the aliases it has in our store, and no other loses one for it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from casspec.storage.schema import CascadeProfile

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

SUBJECT_TAG = "casspec.subject"
PROFILE_TAG = "casspec.profile"
VERSIONS_A_PAGE = 1000


class Registry:
    """Over a client.

    Args:
        is_team: there are profiles and aliases of others.
    """

    def __init__(self, client: MlflowClient, is_team: bool = False) -> None:
        self._client, self._is_team = client, is_team

    def register(self, profile: CascadeProfile, folder: str, run_id: str, aliases: Mapping[str, str]) -> int:
        """The version of a profile, made where there is none; then the registered model has exactly these aliases.

        In a team's registry only those of this profile are set.

        Args:
            folder: URI of an artifact folder of the run.
            aliases: content hash of the profile that has it, by alias. One whose profile has no version here is left out.
        """
        name = self._model(profile)
        versions = self._versions(name, profile.content_hash())
        if not versions:
            self._client.create_model_version(name, folder, run_id, tags=_tags(profile))
            versions = self._versions(name, profile.content_hash())
        kept, *doubles = versions
        for double in doubles:  # made by two processes at once
            self._delete(name, double)
        if self._is_team:
            own = [alias for alias, profile_hash in aliases.items() if profile_hash == profile.content_hash()]
            self._give(name, dict.fromkeys(own, str(kept.version)))
        else:
            self._align(name, aliases)
        return int(kept.version)

    def forget(self, profile: CascadeProfile, aliases: Mapping[str, str]) -> None:
        """Deletes the version of a profile; `aliases` are those that are left."""
        name = self._known(profile)
        if name is not None:
            for version in self._versions(name, profile.content_hash()):
                self._delete(name, version)  # and what aliases it had
            if self._is_team:
                taken = self._known_aliases(name)
                aliases = {alias: profile_hash for alias, profile_hash in aliases.items() if alias not in taken}
                self._give(name, self._wanted(name, aliases))
            else:
                self._align(name, aliases)

    def _align(self, name: str, aliases: Mapping[str, str]) -> None:
        wanted = self._wanted(name, aliases)
        for alias in self._known_aliases(name).keys() - wanted.keys():
            self._client.delete_registered_model_alias(name, alias)
        self._give(name, wanted)

    def _give(self, name: str, wanted: Mapping[str, str]) -> None:
        """Sets aliases where they are on another version, or on none."""
        known = self._known_aliases(name)
        for alias, number in wanted.items():
            if known.get(alias) != number:
                self._client.set_registered_model_alias(name, alias, number)

    def _wanted(self, name: str, aliases: Mapping[str, str]) -> dict[str, str]:
        """Version by alias."""
        found = {alias: self._versions(name, profile_hash)[:1] for alias, profile_hash in aliases.items()}
        return {alias: str(version.version) for alias, versions in found.items() for version in versions}

    def _known_aliases(self, name: str) -> dict[str, str]:
        return {alias: str(version) for alias, version in self._client.get_registered_model(name).aliases.items()}

    def _delete(self, name: str, version: ModelVersion) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._client.delete_model_version(name, version.version)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":  # else another process was faster
                raise

    def _model(self, profile: CascadeProfile) -> str:
        """Name of the registered model, created where there is none."""
        from mlflow.exceptions import MlflowException

        if known := self._known(profile):
            return known
        name = registered_name(profile)
        about = (
            f"Cascade profiles of {profile.model.name} in {profile.dtype} on {profile.device.name} "
            f"({profile.device.capability}, torch {profile.device.torch_version})."
        )
        try:
            self._client.create_registered_model(name, tags={SUBJECT_TAG: subject(profile)}, description=about)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":  # else another process was faster
                raise
        return name

    def _known(self, profile: CascadeProfile) -> str | None:
        found = self._client.search_registered_models(f"tags.`{SUBJECT_TAG}` = '{subject(profile)}'", max_results=1)
        return next((str(model.name) for model in found), None)

    def _versions(self, name: str, profile_hash: str) -> list[ModelVersion]:
        """Versions of one profile, the oldest first; more than one only after a race of processes."""
        condition = f"name = '{name}' and tags.`{PROFILE_TAG}` = '{profile_hash}'"
        found = self._client.search_model_versions(condition, max_results=VERSIONS_A_PAGE)
        return sorted(found, key=lambda version: int(version.version))


def subject(profile: CascadeProfile) -> str:
    """What a profile holds for: the same model, device, dtype and backend have the same."""
    parts = [profile.model.content_hash(), profile.device.content_hash(), profile.dtype]
    parts += [profile.backend] if profile.backend else []
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def registered_name(profile: CascadeProfile) -> str:
    """Readable, and another one for every subject, since weights of one name may differ."""
    words = f"{profile.model.name} {profile.dtype} {profile.device.name}"
    return f"{re.sub(r'[^0-9A-Za-z.]+', '-', words).strip('-.')}-{subject(profile)[:6]}"


def _tags(profile: CascadeProfile) -> dict[str, str]:
    predicted = {f"predicted.{mode}": f"{speedup:.3f}" for mode, speedup in profile.predicted_speedup.items()}
    return {
        PROFILE_TAG: profile.content_hash(),
        "profile_id": profile.profile_id,
        "decision": profile.decision,
        "drafters": ", ".join(drafter.name for drafter in profile.drafters),
        "suite": profile.suite,
        "casspec": profile.casspec_version,
    } | predicted
