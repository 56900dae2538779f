"""What a policy is: it drafts a tree, and learns from what the target made of it. And what policies are built from."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from casspec.runtime.decoding.sequence import Sequence
from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.decoding.verify import TargetOutputs
from casspec.runtime.drafters.token_recycling import RecyclingMatrix
from casspec.runtime.latency.predictor import LatencyPredictor, builtin_latency
from casspec.runtime.model.plan import Plan
from casspec.runtime.model.target import TargetModel
from casspec.storage.errors import UnsupportedOption
from casspec.storage.schema import CascadeProfile, DrafterSpec, Mode, SkipSet

ForwardMs = Callable[[Plan, int, int], float]
"""(plan, query tokens, context tokens) -> predicted milliseconds."""


@dataclass(slots=True)
class VerifyResult:
    """One step after verification: the tree, the accepted nodes (root first), what was emitted, what the target said of every node."""

    tree: CandidateTree
    path: list[int]
    emitted: list[int]
    outputs: TargetOutputs
    ruled_out: frozenset[int] = frozenset()
    """Nodes that a grammar ruled out: the target did not see them, and `outputs` says nothing of them."""
    n_drafted: int | None = None
    """Nodes of the tree that the policy drafted, root included; None for all. Those behind them a grammar forced."""

    @property
    def drafted(self) -> int:
        return len(self.tree) if self.n_drafted is None else self.n_drafted


class Policy:
    """Decides what is drafted next. One instance serves one request at a time.

    A method of your own is a subclass with a `summary` and a `draft`, added by `casspec.register_method` or by an entry point.

    What it may rely on. `build` is called once a decoder and decoding mode. Then, for every request: `begin` once, after the prompt
    was computed; `draft`, verification and `observe` in turn, until the request is over. `sequence` is the same object throughout a
    request. Its `tokens` are the prompt and all that was emitted, the newest last. `propose` and `draft` of `sequence` run a self-drafter.

    What it may not do: write to `sequence`, or draft what `draft` says it must not; the decoder refuses such a tree. Nothing else
    it does can change the text. The target's own token decides at every position, whatever was drafted there.

    Parameters a user may set are the constructor's arguments with an int, float or str default; the defaults are those published.
    Numbers of tokens or nodes are counts from 0 on, and NaN is refused.
    """

    summary: ClassVar[str]
    """One line of `casspec.methods()`."""

    speculates: ClassVar[bool] = True
    """Whether tokens that a grammar forces are drafted too."""

    replayable: ClassVar[bool] = False
    """Of a method that is not built in: whether `casspec replay` may run it on recordings. Then it never asks the target for a forward,
    and of `sequence` only for `tokens`, `committed`, `noise_rows`, `prompt_top`, `prompt_places` and `propose`."""

    needs_top: bool = False
    """Whether it learns from the target's top successors (`VerifyResult.outputs.rows`, `Sequence.prompt_top`)."""

    top_by_token: bool = False
    """Whether of the prompt those after the last place of each token are enough (`Sequence.prompt_places`); they take less time to find."""

    keeps_learned: bool = False
    """Whether `begin` leaves what earlier requests taught it, instead of returning to the profile's state (the default)."""

    @classmethod
    def build(cls, context: PolicyContext, **parameters: Any) -> Self:
        """From a profile, or on built-in priors without one.

        Args:
            parameters: those the user or the profile set, by name; the others keep their defaults.
        """
        return cls(**parameters)

    def fork(self) -> Self:
        """A policy for another request at the same time: it shares tables that never change, and learns for itself."""
        return copy.deepcopy(self)

    def begin(self, sequence: Sequence) -> None:
        """A new request: `sequence.tokens` is its prompt. Forget the request before, unless `keeps_learned`."""

    def draft(self, sequence: Sequence, max_depth: int) -> CandidateTree:
        """The tree to verify next. A tree of the root alone is an ordinary step of the target.

        Its root is the sequence's last token, no node lies deeper than `max_depth`, it has at most MAX_TREE_NODES nodes, and its tokens are
        of the vocabulary.
        """
        raise NotImplementedError

    def observe(self, sequence: Sequence, result: VerifyResult) -> None:
        """Called after each step, once the emitted tokens (`result.emitted`, at least one) were appended to `sequence.tokens`.

        Where the text follows a grammar, the tree may have more nodes than were drafted, at its end: tokens that the grammar forces
        (`result.drafted`). And nodes that it rules out (`result.ruled_out`) were not verified.
        """

    def take_trials(self) -> dict[str, tuple[int, int]]:
        """By drafter, proposals compared with the target's token and those that were it, since last asked; {} where nobody counts."""
        return {}


@dataclass(frozen=True)
class PolicyContext:
    """All a policy may be built from.

    Attributes:
        target: the model, for its sizes and for self-drafters; its forwards belong to the decoder.
        profile: what was calibrated for this model and device; None runs on built-in priors.
        mode: "greedy" or "sample", what the decoder will do.
        matrix: the profile's table of frequent successors; None without.
        costs: what forwards cost, in place of the profile's latency model: where they are shared with other texts.
    """

    target: TargetModel
    profile: CascadeProfile | None
    mode: Mode
    matrix: RecyclingMatrix | None
    costs: ForwardMs | None = field(default=None, kw_only=True)

    def self_drafters(self) -> list[tuple[Plan, DrafterSpec]]:
        """The profile's plans, in its order."""
        drafters = self.profile.drafters if self.profile else ()
        return [
            (Plan.skipping(spec.skip, self.target.n_layers, spec.name, spec.quantization.precision), spec)
            for spec in drafters
            if spec.kind == "self"
        ]

    def plan(self, name: str = "", ratio: float = 0.5) -> Plan:
        """The profile's plan of this name; "" is its first that does nothing but leave sub-layers out, without any an
        evenly spread one.

        Args:
            ratio: share of the inner sub-layers the evenly spread plan leaves out.

        Its weights are packed now, so that no request waits for them. Raises UnsupportedOption for a name the profile does not hold, or
        a precision that cannot run here.
        """
        plans = {plan.name: plan for plan, _ in self.self_drafters()}
        if name:
            if name in plans:
                self.target.prepare(plans[name].precision)
                return plans[name]
            held = ", ".join(plans) or "none"
            raise UnsupportedOption(f"the profile has no drafter '{name}'; it has: {held}")
        sparse = (plan for plan, spec in self.self_drafters() if spec.only_skips)
        return next(sparse, None) or evenly_sparse(self.target.n_layers, ratio)

    def forward_ms(self) -> ForwardMs:
        """The profile's latency model, or the built-in one."""
        if self.costs is not None:
            return self.costs
        return LatencyPredictor(self.profile.latency if self.profile else builtin_latency(self.target)).forward_ms


def evenly_sparse(n_layers: int, ratio: float) -> Plan:
    """A plan nobody searched for: `ratio` of the inner layers left out, evenly spread, both sub-layers of each."""
    inner = range(1, n_layers - 1)
    count = round(ratio * len(inner))
    layers = tuple(inner[int((i + 0.5) * len(inner) / count)] for i in range(count))
    return Plan.skipping(SkipSet(attention=layers, mlp=layers), n_layers, f"even-{ratio:g}")
