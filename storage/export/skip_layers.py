"""`skip_layers.json` of SWIFT and Draft & Verify, both ways: names to the sub-layers left out, 0-based.

{"llama-2-13b_cnndm": {"attention": [2, 5], "mlp": [9, 11]}}
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from casspec.storage.errors import MalformedFile, UnsupportedOption
from casspec.storage.export.exported import Exported
from casspec.storage.schema import CascadeProfile, DrafterSpec, Precision, SkipSet


def export(profile: CascadeProfile) -> Exported:
    """Partial: skip sets only. Raises UnsupportedOption when no self-drafter of the profile has one."""
    plans = [drafter for drafter in profile.drafters if drafter.kind == "self" and len(drafter.skip)]
    if not plans:
        raise UnsupportedOption(
            f"the cascade of profile {profile.profile_id} skips no layers: export it with --to json"
        )
    model = profile.model.name.rstrip("/").rpartition("/")[2]
    names = [model if len(plans) == 1 else f"{model}_{plan.name}" for plan in plans]
    entries = (
        f"  {json.dumps(name)}: {json.dumps(plan.skip.model_dump(mode='json'))}"
        for name, plan in zip(names, plans, strict=True)
    )
    note = (
        f"skip_layers.json as SWIFT and Draft & Verify (2024) read it. Lost: {_lost_precisions(plans)}acceptance, "
        "latency, the other drafters and how they stack."
    )
    return Exported("{\n" + ",\n".join(entries) + "\n}\n", "partial", note)


def _lost_precisions(plans: Sequence[DrafterSpec]) -> str:
    """The plans that run in the target's precision there, unlike here, as words for a note."""
    quantised = [plan for plan in plans if plan.quantization.precision is not Precision.TARGET]
    return "".join(f"precision {plan.quantization.precision} of {plan.name}, " for plan in quantised)


def is_skip_layers(content: Any) -> bool:
    """Whether parsed JSON has the shape of this format."""
    return (
        isinstance(content, dict)
        and bool(content)
        and all(isinstance(entry, dict) and entry.keys() & {"attention", "mlp"} for entry in content.values())
    )


def read(content: dict[str, Any], n_layers: int, names: tuple[str, ...] = ()) -> dict[str, SkipSet]:
    """The skip sets of parsed JSON by name, checked against a model of `n_layers` layers; only `names` when given.

    Raises MalformedFile that says which entry is wrong.
    """
    if unknown := sorted(set(names) - content.keys()):
        raise MalformedFile(f"no entry {', '.join(unknown)}: the file holds {', '.join(content)}")
    chosen = {name: content[name] for name in names} or content
    return {name: _skip_set(name, entry, n_layers) for name, entry in chosen.items()}


def _skip_set(name: str, entry: Any, n_layers: int) -> SkipSet:
    try:
        skip = SkipSet.model_validate(entry)
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, fault["loc"]))
        raise MalformedFile(
            f"entry {name}, {place}: {fault['msg']}; expected lists of layer numbers under attention and mlp"
        ) from None
    try:
        return skip.check(n_layers)
    except ValueError as error:
        raise MalformedFile(f"entry {name}: {error}; choose entries that fit with --name") from None
