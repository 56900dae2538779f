"""DyTC, the method of the project: `policy.py` a step in its order, `costs.py` what forwards cost it, `tree_growth.py` the tree,
`reviewer.py` a self-drafter inside it, `ablation.py` its switches."""

from casspec.runtime.policies.dytc.policy import DyTC

__all__ = ["DyTC"]
