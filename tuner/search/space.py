"""The search space of plans, and what is sought in it.

A plan is a choice of which attention and MLP sub-layers to leave out, where the first and last layer always stay, and of
a precision. The best accept much and cost little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from casspec.storage.schema import DrafterCandidate, Precision, Quantization, SkipSet
from casspec.tuner.search.plan_spec import PlanSpec

PRECISION = "precision"
"""Name of the parameter beside the switches, where there is more than one precision to choose from."""

DIRECTIONS: tuple[Literal["maximize", "minimize"], ...] = ("maximize", "minimize")
"""Of `objectives`."""


def switches(n_layers: int) -> tuple[str, ...]:
    """Names of the 2 (L - 2) switches: "attention.1", "mlp.1", "attention.2" ..."""
    return tuple(f"{kind}.{layer}" for layer in range(1, n_layers - 1) for kind in ("attention", "mlp"))


def skip_of(skipped: Mapping[str, bool]) -> SkipSet:
    """The skip set with every switch that is true."""
    layers: dict[str, list[int]] = {"attention": [], "mlp": []}
    for name, skips in skipped.items():
        kind, _, layer = name.partition(".")
        if skips:
            layers[kind].append(int(layer))
    return SkipSet(attention=tuple(layers["attention"]), mlp=tuple(layers["mlp"]))


def switches_of(skip: SkipSet, n_layers: int) -> dict[str, bool]:
    """Every switch of the space with its value; layers outside the space (first and last) are left running."""
    skipped = {f"attention.{layer}" for layer in skip.attention} | {f"mlp.{layer}" for layer in skip.mlp}
    return {name: name in skipped for name in switches(n_layers)}


def choices(n_layers: int, precisions: Sequence[Precision]) -> dict[str, tuple[bool | str, ...]]:
    """The values each parameter of the space can take: every switch, and the precision where there are several."""
    space: dict[str, tuple[bool | str, ...]] = dict.fromkeys(switches(n_layers), (False, True))
    return space | ({PRECISION: tuple(map(str, precisions))} if len(precisions) > 1 else {})


def spec_of(parameters: Mapping[str, int | str]) -> PlanSpec:
    """The plan that these values of the space's parameters stand for; the target's precision where none is given."""
    switched = {name: bool(value) for name, value in parameters.items() if name != PRECISION}
    return PlanSpec(skip_of(switched), Precision(str(parameters.get(PRECISION, Precision.TARGET))))


def parameters_of(spec: PlanSpec, n_layers: int, precisions: Sequence[Precision]) -> dict[str, bool | str]:
    """The values of the space's parameters at a plan: `spec_of` the other way."""
    parameters: dict[str, bool | str] = dict(switches_of(spec.skip, n_layers))
    return parameters | ({PRECISION: str(spec.precision)} if len(precisions) > 1 else {})


def objectives(candidate: DrafterCandidate) -> list[float]:
    """Acceptance and predicted cost of a step."""
    return [candidate.acceptance, candidate.cost]


def affordable(quantization: Quantization, most_extra_bytes: int | None) -> bool:
    """Whether its packed weights fit the memory a user allows; None is no limit."""
    return most_extra_bytes is None or quantization.extra_bytes <= most_extra_bytes
