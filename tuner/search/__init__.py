"""The search for self-drafters: an Optuna study over plans, acceptance up and cost down.

`space.py` is what can be chosen and `plan_spec.py` what plans are told apart by. `starting_plans.py` and `knapspec_plans.py` are
evaluated first, then `samplers/` propose. `trial.py` scores one plan, `study.py` is the loop, `pareto.py` the front. `budget.py` says how
much a search may take, `workers/` who evaluates what when several do. `stage.py` is the search as a stage of a calibration,
`figures.py` its charts.

Read `space.py`, `trial.py`, then `study.py`. To add a sampler, edit `samplers/by_name.py`; to add starting plans,
`starting_plans.py`; to add a switch of plans, `space.py`.
"""
