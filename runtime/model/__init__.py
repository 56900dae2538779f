"""The model with its switches: one forward for the target and for every plan of it.

`plan.py` is which sub-layers run and at which precision. `forward_input.py` is what a forward is given, `inputs.py` makes it.
`kv_cache.py` is the cache. `target.py` joins them; what runs a forward stands in `lean/`. `row_check.py` measures whether a row's result
depends on the rows beside it.

Read `plan.py`, then `target.py`.
"""
