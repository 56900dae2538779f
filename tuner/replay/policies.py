"""Which methods can be replayed, and how they are built where there is no model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from casspec.runtime.drafters.token_recycling import RecyclingMatrix
from casspec.runtime.model.plan import Plan
from casspec.runtime.policies import METHODS, all_methods, method_class
from casspec.runtime.policies.autoregressive import Autoregressive
from casspec.runtime.policies.base import ForwardMs, Policy, PolicyContext
from casspec.storage.errors import UnsupportedOption
from casspec.storage.schema import CASCADE, CascadeProfile, Mode, Precision
from casspec.tuner.bench.entries import AUTOREGRESSIVE

SEARCHES = "it searches for its skip set with the model while it decodes"

REFUSED = {
    "lookahead": "it learns from the target's tokens after guesses that are not in the text, and no recording holds those",
    "swift": SEARCHES,
    "knapspec": SEARCHES,
}
"""Methods that need the model at every step, each with its reason."""

UNTOLD = "it does not say that it decodes recordings as well (`replayable = True` in its class does)"


def replayable(names: Sequence[str] | None) -> list[str]:
    """The methods of these names, autoregressive left out since it is what others are compared with; by default all there are.

    Raises UnsupportedOption for an unknown method, for one that cannot be replayed, and where nothing is left.
    """
    every = [method for method in all_methods() if refusal(method) is None]
    chosen = [name for name in dict.fromkeys(every if names is None else names) if name != AUTOREGRESSIVE]
    for name in chosen:
        if reason := refusal(name):
            raise UnsupportedOption(f"method '{name}' cannot be replayed: {reason}; `casspec bench` runs it")
    if not chosen:
        raise UnsupportedOption(
            f"no method is named besides {AUTOREGRESSIVE}, which others are compared with; "
            f"methods that can be replayed: {', '.join(every)}"
        )
    return chosen


def refusal(method: str) -> str | None:
    """Why a method cannot be replayed; None for one that can. Raises UnsupportedOption for an unknown method."""
    told = method in METHODS or method_class(method).replayable
    return REFUSED.get(method) if told else UNTOLD


def really_run(method: str, profile: CascadeProfile) -> str:
    """The method that decodes: the cascade of a profile whose decision is "off" decodes plainly, as `build_policy` has it."""
    return AUTOREGRESSIVE if method == CASCADE and profile.decision == "off" else method


@dataclass(frozen=True)
class AbsentModel:
    """What policies ask of a target while they are built, without its weights."""

    n_layers: int
    vocab_size: int

    @property
    def full_plan(self) -> Plan:
        return Plan.full(self.n_layers)

    def prepare(self, precision: Precision) -> None:
        """Nothing runs here, so any precision will do."""


@dataclass(frozen=True)
class ReplayContext(PolicyContext):
    """As a profile's, at other latencies than its own."""

    latencies: ForwardMs

    def forward_ms(self) -> ForwardMs:
        return self.latencies


def build_replayed(
    method: str, profile: CascadeProfile, mode: Mode, matrix: bytes | None, forward_ms: ForwardMs
) -> Policy:
    """A method as the profile tuned it, as published where it did not.

    Args:
        matrix: content of the profile's recycling matrix.
        forward_ms: the latencies it believes in.
    """
    if really_run(method, profile) == AUTOREGRESSIVE:
        return Autoregressive()
    vocab_size = profile.model.vocab_size
    start = RecyclingMatrix.from_bytes(matrix, vocab_size) if matrix else None
    model = AbsentModel(profile.model.n_layers, vocab_size)
    context = ReplayContext(model, profile, mode, start, forward_ms)  # type: ignore[arg-type]
    return method_class(method).build(context, **profile.settings(method))


def variant_of(method: str, profile: CascadeProfile) -> str:
    """As `casspec bench` calls it."""
    return "tuned" if method == CASCADE or profile.settings(method) else "published"
