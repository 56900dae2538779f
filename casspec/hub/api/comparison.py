"""Two profiles, field by field: settings, decision, drafters, speeds, what the latency model is worth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from casspec.storage.errors import ProfileNotFound
from casspec.storage.repository import Repository
from casspec.storage.schema import CascadeProfile
from casspec.storage.summaries.documents import Comparison, Difference, ProfileSummary

LATENCY = (
    "kind",
    "n_points",
    "fitted_context_tokens",
    "test_retest",
    "cv_median_error",
    "cv_p90_error",
    "noise",
    "buckets",
)
"""Of a latency model: what it was fitted on, and its errors."""

Fields = Mapping[str, Any]


def compare(repository: Repository, a: str, b: str) -> Comparison:
    """What two profiles differ in.

    Args:
        a, b: IDs, beginnings of IDs, aliases, or `latest`.

    Raises ProfileNotFound.
    """
    aliases = repository.aliases()
    profiles = [repository.profile(selection) for selection in (a, b)]
    one, other = (repository.summaries.one(profile.content_hash(), aliases) for profile in profiles)
    found = [_sections(repository, *pair) for pair in zip(profiles, (one, other), strict=True)]
    return Comparison(a=one, b=other, differences=tuple(_differences(*found)))


def _differences(a: Mapping[str, Fields], b: Mapping[str, Fields]) -> Iterator[Difference]:
    for section in a:
        for field in dict.fromkeys([*a[section], *b[section]]):
            pair = a[section].get(field), b[section].get(field)
            if pair[0] != pair[1]:
                yield Difference(section=section, field=field, a=pair[0], b=pair[1])


def _sections(repository: Repository, profile: CascadeProfile, summary: ProfileSummary) -> dict[str, Fields]:
    """All that is compared, as JSON values; every profile has the same sections."""
    document = profile.model_dump(mode="json")
    origin = {name: document[name] for name in ("created_at", "casspec_version", "suite", "seed")}
    return {
        "outcome": {"decision": profile.decision, "extra_bytes": profile.extra_bytes}
        | {f"fastest, {mode}": profile.fastest(mode) for mode in profile.predicted_speedup},
        "speed": {f"predicted, {mode}": speedup for mode, speedup in profile.predicted_speedup.items()}
        | {f"measured, {mode}": speed.speedup for mode, speed in summary.measured.items()}
        | {f"tokens/s, {mode}": speed.tokens_per_second for mode, speed in summary.measured.items()},
        "drafters": {
            f"{drafter['name']}, {field}": value
            for drafter in document["drafters"]
            for field, value in _drafter(drafter).items()
        },
        "methods": {f"{entry['method']}, {entry['variant']}": entry["parameters"] for entry in document["methods"]},
        "latency model": {name: document["latency"][name] for name in LATENCY},
        "calibration settings": _flat(_settings(repository, summary.profile_hash)),
        "model": document["model"],
        "device": {name: value for name, value in document["device"].items() if name != "ceilings"}
        | {"dtype": profile.dtype, "backend": summary.backend},
        "origin": origin,
    }


def _drafter(drafter: Fields) -> Fields:
    """What a drafter is, without its name."""
    skip = drafter["skip"]
    return {
        "kind": drafter["kind"],
        "precision": drafter["quantization"]["precision"],
        "attention left out": skip["attention"],
        "MLP left out": skip["mlp"],
        **drafter["parameters"],
    }


def _settings(repository: Repository, profile_hash: str) -> Fields:
    """Of the calibration that made a profile; {} for an imported one."""
    try:
        return repository.calibration_of(profile_hash)[1]
    except ProfileNotFound:
        return {}


def _flat(settings: Fields) -> Fields:
    """By stage and name, "search.trials"."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        inner = value if isinstance(value, Mapping) else None
        flat |= {name: value} if inner is None else {f"{name}.{each}": inner[each] for each in inner}
    return flat
