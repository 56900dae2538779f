"""A profile as decoders take it: with its artifacts, and with the cascade of the task."""

from __future__ import annotations

from dataclasses import dataclass

from casspec.storage.schema import CASCADE, CascadeProfile, MethodSettings


@dataclass(frozen=True)
class LoadedProfile:
    """A profile with the artifacts it names. Without the recycling matrix the recycling drafters start cold.

    `task`: what is decoded; where the profile has a cascade of this task's own, that one runs.
    """

    document: CascadeProfile | None
    recycling_matrix: bytes | None = None
    task: str | None = None

    @property
    def cascade(self) -> CascadeProfile | None:
        """The document with the cascade of the task in place of the one for all."""
        return self.document and cascade_of(self.document, self.task)


def cascade_of(profile: CascadeProfile, task: str | None) -> CascadeProfile:
    """The profile with the cascade of `task` in place of the one for all; itself for a task without one of its own."""
    own = profile.by_task.get(task) if task is not None else None
    if own is None:
        return profile
    drafters = [
        drafter.model_copy(update={"parameters": drafter.parameters | {"cascade": drafter.name in own.drafters}})
        if drafter.kind == "self"
        else drafter
        for drafter in profile.drafters
    ]
    others = [entry for entry in profile.methods if (entry.method, entry.variant) != (CASCADE, "tuned")]
    return profile.model_copy(
        update={
            "drafters": tuple(drafters),
            "methods": (*others, MethodSettings(method=CASCADE, variant="tuned", parameters=own.parameters)),
            "decision": own.decision,
            "predicted_speedup": own.predicted_speedup,
            "predicted_of_others": own.predicted_of_others,
        }
    )
