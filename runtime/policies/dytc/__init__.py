"""DyTC, the method of the project: `policy.py` the policy, `growth.py` the tree of a step, `reviewer.py` a self-drafter inside it,
`ablation.py` its switches."""

from casspec.runtime.policies.dytc.policy import DyTC

__all__ = ["DyTC"]
