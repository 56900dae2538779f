"""Expected walltime improvement of drafting schemes, as the literature writes it (CS-Drafting, CAS-Spec).

Symbols: `a` probability that the target accepts a drafted token, `c` cost of one drafter step over one target step, `k`
draft length. The literature lets verification cost one target step whatever its length; `verify` is that cost where it
is known better.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence


def expected_accepted(a: float, k: int) -> float:
    """Mean accepted tokens of a chain of k when acceptances are independent: a + a^2 + ... + a^k."""
    return sum(a**i for i in range(1, k + 1))


def speculative(a: float, c: float, k: int, verify: float = 1.0) -> float:
    """T_SD: one drafter, a chain of k."""
    return (1 + expected_accepted(a, k)) / (c * k + verify)


def generating_function(a: float, k: int, x: float) -> float:
    """phi_(a,k)(x) of the number of tokens a chain of k emits, bonus excluded: CS-Drafting's building block."""
    return 1 + (x - 1) * (1 - (a * x) ** (k + 1)) / (1 - a * x)


def vertical(a: float, c1: float, n: int, a12: float, c2: float, k: int, verify: float = 1.0) -> float:
    """T_VC: a first drafter (acceptance a) reviews k tokens of a second (acceptance a12 by the first), n rounds, then
    the target.
    """
    phi = generating_function(a12, k, a)
    return (1 - a * phi**n) / ((1 - a) * (verify + n * c1 + n * k * c2))


def horizontal(a1: float, c1: float, k1: int, a2: float, c2: float, k2: int, verify: float = 1.0) -> float:
    """T_HC: the first k1 tokens from one drafter, the next k2 from a cheaper one."""
    return chain([a1] * k1 + [a2] * k2, [c1] * k1 + [c2] * k2, verify)


def chain(acceptances: Sequence[float], costs: Sequence[float], verify: float = 1.0) -> float:
    """The general form: token i is accepted with probability acceptances[i] when all before it were, and costs
    costs[i].
    """
    emitted, alive = 1.0, 1.0
    for a in acceptances:
        alive *= a
        emitted += alive
    return emitted / (verify + sum(costs))


def best_chain(survival: Sequence[float], c: float, verify: Callable[[int], float]) -> tuple[int, float]:
    """(k, improvement) of the best chain of one drafter, k >= 1.

    Args:
        survival: probability that the first 1..k tokens are all accepted.
        c: cost of a drafter step.
        verify: cost of verifying that many query tokens, over one target step.
    """
    choices = [(k, (1 + sum(survival[:k])) / (k * c + verify(k + 1))) for k in range(1, len(survival) + 1)]
    return max(choices, key=lambda choice: choice[1])
