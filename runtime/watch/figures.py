"""What a profile promises of its drafters: the share of their proposals that the target confirms, and how far that is known."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

from casspec.runtime.decoding.acceptance import FIRST_CONFIDENCE, is_literal
from casspec.runtime.drafters.prompt_lookup import PromptLookup
from casspec.runtime.drafters.token_recycling import TokenRecycling
from casspec.runtime.policies.dytc.ablation import RETRIEVAL_TABLE
from casspec.storage.schema import AcceptancePrior, CascadeProfile, Mode


@dataclass(frozen=True)
class Scatter:
    """How much texts differ in what a kind of drafter is worth there.

    Attributes:
        factor: variance of a share over that of as many independent trials, since trials come in texts.
        least_margin: a share may always differ by so much.
        full_text: trials that give a text full weight. Where texts with more trials have other shares, it is more than most have.
    """

    factor: float
    least_margin: float
    full_text: int


OF_RETRIEVAL, OF_PLANS = Scatter(15.0, 0.04, 96), Scatter(4.0, 0.02, 24)
"""Upper ends of what recordings of chat and source show: 4 to 17, and 1 to 2.5. A text that copies goes on copying."""

RETRIEVED = (PromptLookup.name, TokenRecycling.name)

ERRORS = 2.0
"""Standard errors of a calibrated share that are no drift."""

MOST_MARGIN = 0.2
"""A share that differs by more is another, however few trials were counted."""

UNCOUNTED_TRIALS = 500.0
"""What a share counts for that is told without its trials."""


@dataclass(frozen=True)
class Figure:
    """Of a drafter in a decoding mode.

    Attributes:
        acceptance: share of its proposals that are the target's token. trials: it was counted in.
    """

    acceptance: float
    trials: float
    scatter: Scatter = OF_PLANS

    @property
    def margin(self) -> float:
        """What the share may differ by without being another than was calibrated."""
        error = sqrt(self.acceptance * (1.0 - self.acceptance) * self.scatter.factor / max(self.trials, 1.0))
        return min(max(ERRORS * error, self.scatter.least_margin), MOST_MARGIN)


def figures(profile: CascadeProfile) -> dict[tuple[Mode, str], Figure]:
    """By decoding mode and drafter, of those that `dytc` runs: retrieval's two kinds, and the best tokens of self-drafters.

    These are the proposals that `Statistics.trials_by` counts.
    """
    found: dict[tuple[Mode, str], Figure] = {}
    offline = {
        spec.name: float(spec.parameters["acceptance"])
        for spec in profile.drafters
        if profile.decision == "cascade"
        and spec.kind == "self"
        and spec.parameters.get("cascade", True)
        and "acceptance" in spec.parameters
    }
    for prior in profile.acceptance:
        counted = _counted(prior)
        for name in RETRIEVED:
            if name in counted:
                found[prior.mode, name] = counted[name]
        for name, acceptance in offline.items():
            found[prior.mode, name] = counted.get(name) or Figure(acceptance, UNCOUNTED_TRIALS)
    return found


def _counted(prior: AcceptancePrior) -> dict[str, Figure]:
    """By drafter, from the cells of those proposals."""
    sums: dict[str, tuple[float, float]] = {}
    for cell in prior.cells:
        table, _, number = cell.key.rpartition(":")
        if not number.isdecimal() or (table != RETRIEVAL_TABLE and int(number) < FIRST_CONFIDENCE):
            continue
        name = table
        if table == RETRIEVAL_TABLE:
            name = PromptLookup.name if is_literal(int(number)) else TokenRecycling.name
        accepted, trials = sums.get(name, (0.0, 0.0))
        sums[name] = accepted + cell.accepted, trials + cell.trials
    return {
        name: Figure(accepted / trials, trials, OF_RETRIEVAL if name in RETRIEVED else OF_PLANS)
        for name, (accepted, trials) in sums.items()
        if trials
    }
