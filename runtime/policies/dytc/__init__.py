"""DyTC, the method of the project: `policy.py` a step in its order, `costs.py` what forwards cost it, `tree_growth.py` the tree
and `growth_passes.py` its compiled work, `reviewer.py` a self-drafter inside it, `tally.py` how often drafters were right,
`ablation.py` its switches.

Read `policy.py`, then `tree_growth.py`. To add a switch, edit `ablation.py`.
"""

from casspec.runtime.policies.dytc.policy import DyTC

__all__ = ["DyTC"]
